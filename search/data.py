"""Data sets as arrays that stay in memory: read, checked and split, once, by the driver.

NumPy and no torch, so that Ray's object store hands one copy to every worker of a machine.
"""

from __future__ import annotations

import gzip
import os
import warnings
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from anynet.errors import InputError
from search.sweep_file import DataSpec

Progress = Callable[[int, int], None]

FASHION_MNIST_PACKAGE = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist puts the four files."""

IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""torchvision's `IMG_EXTENSIONS`, without the seconds that importing it takes."""

_DIGITS = tuple("0123456789")
_FASHION = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
_DIGITS_TEST_SHARE = 0.2
_DIGITS_TEST_SEED = 1797
_FILES_PER_TASK = 16


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their labels: read-only arrays, as they are in Ray's object store.

    `images`: uint8 (N, C, H, W), H = W, C-contiguous; `labels`: int64 (N,), from 0. Raises
    ValueError for anything else.
    """

    images: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        images, labels = self.images.view(), self.labels.view()
        shape = images.shape
        if images.dtype != np.uint8 or images.ndim != 4 or shape[2] != shape[3]:
            raise ValueError(f"images: {images.dtype} {shape} must be uint8 (N, C, H, H)")
        if not images.flags.c_contiguous:
            raise ValueError(f"images: strides {images.strides} must be C-contiguous")
        if labels.dtype != np.int64 or labels.shape != shape[:1]:
            raise ValueError(f"labels: {labels.dtype} {labels.shape} must be int64 {shape[:1]}")
        for field, array in (("images", images), ("labels", labels)):
            array.setflags(write=False)
            object.__setattr__(self, field, array)

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray) -> Split:
        """The images at `indices`, copied."""
        return Split(self.images[indices], self.labels[indices])


@dataclass(frozen=True, eq=False)
class DataSet:
    """Images to train on, to measure `error` on, and to leave alone until the end (`test`).

    `mean` and `std`: of the images of `train`, a number a channel, on a scale of 0 to 1.
    `flip` and `crop_padding` (pixels a side): the augmentation where a recipe names none.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flip: bool
    crop_padding: int

    @property
    def channels(self) -> int:
        """Color channels of an image."""
        return int(self.train.images.shape[1])

    @property
    def resolution(self) -> int:
        """Side of an image in pixels."""
        return int(self.train.images.shape[2])


def load(spec: DataSpec, *, source: str = "data", on_progress: Progress | None = None) -> DataSet:
    """Read the data set that `spec` names and hold out its validation images.

    The validation images are the share `spec.validation` of the training images, the same share
    of every class to within one image, drawn by `spec.split_seed`; the test images are those
    that the data set comes with. scikit-learn's digits come with none: 20 % of every
    class, drawn by a constant seed and so the same whatever the `split_seed`, stand in.

    Within a split the images keep the order in which they are stored. `on_progress(done, total)`
    counts the images of an `image_folder` as they are decoded. Nothing is downloaded unless
    `spec.download` says so. Raises InputError, its line opening with `source`, where a field
    cannot be met or a file is broken.
    """
    try:
        if spec.download and spec.name in ("digits", "image_folder"):
            raise _refusal("download", True, f"there is nothing to download for {spec.name}")
        if spec.name == "image_folder":
            return _load_image_folder(spec, on_progress)
        return _load_arrays(spec)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    except PermissionError as error:
        refusal = _refusal("root", error.filename, "cannot be read: permission denied")
        raise InputError(f"{source}: {refusal}") from None


def _refusal(field: str, value: object, rule: str) -> InputError:
    shown = str(value) if isinstance(value, Path) else value
    return InputError(f"data.{field}: {shown!r} {rule}")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


# Splitting


def _shares(counts: np.ndarray, total: int, most: np.ndarray) -> np.ndarray:
    """`total` images dealt to classes in proportion to `counts`, by largest remainder.

    Every class gets 1 at least and `most` at most; `total` must lie between the sums of these.
    """
    exact, whole = counts * total, counts.sum()  # a class's due is exact / whole
    dealt = np.clip(exact // whole, 1, most)
    while (short := total - dealt.sum()) != 0:
        step = int(np.sign(short))
        free = dealt < most if step > 0 else dealt > 1
        due = np.where(free, step * (exact - dealt * whole), np.iinfo(np.int64).min)
        dealt[np.argmax(due)] += step
    return dealt


def _hold_out_counts(labels: np.ndarray, classes: Sequence[str], share: float) -> np.ndarray:
    """How many images of each class make up a held-out `share`: 1 at least, never all."""
    counts = np.bincount(labels, minlength=len(classes))
    scarce = np.flatnonzero(counts < 2)
    if len(scarce):
        more = f" (and {len(scarce) - 1} more)" if len(scarce) > 1 else ""
        raise _refusal(
            "validation",
            share,
            "needs 2 images or more of every class, one to hold out and one to train on, "
            f"but class {classes[scarce[0]]!r} has {counts[scarce[0]]}{more}",
        )
    total = min(max(round(share * len(labels)), len(classes)), len(labels) - len(classes))
    return _shares(counts, total, counts - 1)


def _draw(labels: np.ndarray, seed: int, *parts: np.ndarray) -> list[np.ndarray]:
    """Disjoint ascending indices, one array a part; a part is a number of images a class."""
    rng = np.random.default_rng(seed)
    drawn: list[list[np.ndarray]] = [[] for _ in parts]
    for label in range(len(parts[0])):
        rest = rng.permutation(np.flatnonzero(labels == label))
        for part, into in zip(parts, drawn, strict=True):
            into.append(rest[: part[label]])
            rest = rest[part[label] :]
    return [np.sort(np.concatenate(chosen)) for chosen in drawn]


def _split(labels: np.ndarray, classes: Sequence[str], spec: DataSpec) -> list[np.ndarray]:
    """Indices of the images to hold out, and of those to train on."""
    held_out = _hold_out_counts(labels, classes, spec.validation)
    kept = np.bincount(labels, minlength=len(classes)) - held_out
    if spec.train_images is not None:
        if spec.train_images > kept.sum():
            raise _refusal(
                "train_images",
                spec.train_images,
                f"is more than the {kept.sum()} training images that there are "
                f"(with {held_out.sum()} held out for validation)",
            )
        if spec.train_images < len(classes):
            raise _refusal(
                "train_images",
                spec.train_images,
                f"is fewer than 1 image for each of the {len(classes)} classes",
            )
        kept = _shares(kept, spec.train_images, kept)
    return _draw(labels, spec.split_seed, held_out, kept)


def _data_set(
    spec: DataSpec,
    classes: Sequence[str],
    train: Split,
    validation: Split,
    test: Split | None,
    flip: bool,
    crop_padding: int,
) -> DataSet:
    mean, std = _mean_and_std(train.images)
    return DataSet(
        spec.name, tuple(classes), train, validation, test, mean, std, flip, crop_padding
    )


def _mean_and_std(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of uint8 (N, C, H, W), on a scale of 0 to 1.

    Where a channel is constant its deviation is 1/255, so that dividing by it stays harmless.
    """
    values = np.arange(256) / 255
    means, deviations = [], []
    for channel in range(images.shape[1]):
        histogram = np.zeros(256, dtype=np.int64)
        for start in range(0, len(images), 1024):  # bincount copies its input as int64
            pixels = images[start : start + 1024, channel].ravel()
            histogram += np.bincount(pixels, minlength=256)
        mean = np.average(values, weights=histogram)
        deviation = np.sqrt(np.average((values - mean) ** 2, weights=histogram))
        means.append(float(mean))
        deviations.append(max(float(deviation), 1 / 255))
    return tuple(means), tuple(deviations)


# Data sets that are stored as arrays


def _load_arrays(spec: DataSpec) -> DataSet:
    if spec.name == "digits":
        classes, stored, test = _read_digits(spec)
        flip, crop_padding = False, 1
    elif spec.name == "cifar10":
        classes, stored, test = _read_cifar10(spec)
        flip, crop_padding = True, 4
    else:
        classes, stored, test = _read_mnist(spec)
        flip, crop_padding = spec.name == "fashion_mnist", 2
    own = stored.images.shape[2]
    if spec.resolution not in (None, own):
        raise _refusal(
            "resolution",
            spec.resolution,
            f"is not {spec.name}'s own {own}; only image_folder resizes",
        )
    held_out, kept = _split(stored.labels, classes, spec)
    return _data_set(
        spec, classes, stored.take(kept), stored.take(held_out), test, flip, crop_padding
    )


Stored = tuple[Sequence[str], Split, Split]
"""Names of the classes, the training images (validation among them), the test images."""


def _read_digits(spec: DataSpec) -> Stored:
    if spec.root is not None:
        raise _refusal("root", spec.root, "has no use: digits come with scikit-learn")
    from sklearn.datasets import load_digits

    values, labels = load_digits(return_X_y=True)
    images = np.rint(values * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    every = Split(images, labels.astype(np.int64))
    counts = np.bincount(every.labels)
    test_counts = _hold_out_counts(every.labels, _DIGITS, _DIGITS_TEST_SHARE)
    test, rest = _draw(every.labels, _DIGITS_TEST_SEED, test_counts, counts - test_counts)
    return _DIGITS, every.take(rest), every.take(test)


def _root(spec: DataSpec, holds: str) -> Path:
    """The folder that `data.root` names; it need not exist yet where it may be downloaded."""
    if spec.root is None:
        raise _refusal("root", None, f"is no folder; {spec.name} needs one that holds {holds}")
    root = Path(os.path.expanduser(spec.root))
    if root.exists() and not root.is_dir():
        raise _refusal("root", spec.root, "is a file, where a folder is expected")
    if not root.exists() and not spec.download:
        raise _refusal("root", spec.root, "no such folder")
    return root


def _read_cifar10(spec: DataSpec) -> Stored:
    root = _root(spec, "cifar-10-batches-py")
    from torchvision.datasets import CIFAR10

    try:
        with warnings.catch_warnings():
            # NumPy 2.4.0 to 2.4.4 warn of how pickles as old as these spell a dtype.
            warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
            parts = [CIFAR10(str(root), train, download=spec.download) for train in (True, False)]
    except (RuntimeError, OSError) as error:
        if spec.download:
            raise _refusal("download", True, f"failed: {_one_line(error)}") from None
        raise _refusal(
            "root",
            spec.root,
            "does not hold an intact cifar-10-batches-py (the files' MD5 sums are checked); "
            "put it there or set `data.download: true`",
        ) from None
    train, test = (
        Split(
            np.ascontiguousarray(part.data.transpose(0, 3, 1, 2)),
            np.asarray(part.targets, dtype=np.int64),
        )
        for part in parts
    )
    return tuple(parts[0].classes), train, test


_IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def _read_mnist(spec: DataSpec) -> Stored:
    files = _idx_files(spec)
    train, test = _read_idx_pair(*files[:2]), _read_idx_pair(*files[2:])
    if train.images.shape[1:] != test.images.shape[1:]:
        sides = f"{test.images.shape[2]} pixels a side, those to train on {train.images.shape[2]}"
        raise _refusal("root", files[2], f"holds images of {sides}")
    return _FASHION if spec.name == "fashion_mnist" else _DIGITS, train, test


def _idx_files(spec: DataSpec) -> list[Path]:
    """The four files, in the order of `_IDX_FILES`; downloaded where `spec` says so."""
    if spec.name == "fashion_mnist" and spec.root is None:
        root = FASHION_MNIST_PACKAGE
        if not root.is_dir():
            raise _refusal(
                "root",
                None,
                f"stands for {root}, which is not there: `apt-get install dataset-fashion-mnist`, "
                "or set `data.root` to a folder that holds the IDX files, or to one to fill and "
                "`data.download: true`",
            )
    else:
        root = _root(spec, "the IDX files, or to download them into")
    layout = "FashionMNIST" if spec.name == "fashion_mnist" else "MNIST"
    folders = (root / layout / "raw", root)
    found = _find_idx_files(folders)
    if None in found and spec.download and spec.root is not None:
        _download_mnist(layout, root)
        found = _find_idx_files(folders)
    missing = [name for name, file in zip(_IDX_FILES, found, strict=True) if file is None]
    if missing:
        raise _refusal(
            "root",
            root if spec.root is None else spec.root,
            f"holds no {', '.join(missing)} (or .gz), neither directly nor in {layout}/raw; "
            "put the IDX files there or set `data.download: true`",
        )
    return [file for file in found if file is not None]


def _find_idx_files(folders: Sequence[Path]) -> list[Path | None]:
    """The files of the folder that has the most of them, the first of equals."""
    options = [
        [
            next((file for file in (path, Path(f"{path}.gz")) if file.is_file()), None)
            for path in (folder / name for name in _IDX_FILES)
        ]
        for folder in folders
    ]
    return min(options, key=lambda files: files.count(None))


def _download_mnist(layout: str, root: Path) -> None:
    from torchvision import datasets

    try:
        getattr(datasets, layout)(str(root), download=True)
    except (RuntimeError, OSError) as error:
        raise _refusal("download", True, f"failed: {_one_line(error)}") from None


def _read_idx_pair(image_file: Path, label_file: Path) -> Split:
    images, labels = _read_idx(image_file, 3), _read_idx(label_file, 1)
    count, height, width = images.shape
    if not count or height != width or not height:
        raise _refusal(
            "root", image_file, f"holds {count} images of {height}x{width}, where squares belong"
        )
    if len(labels) != count:
        raise _refusal("root", label_file, f"holds {len(labels)} labels for {count} images")
    if labels.max() > 9:
        raise _refusal("root", label_file, f"holds a label {labels.max()}, where 0 to 9 belong")
    return Split(images[:, np.newaxis], labels.astype(np.int64))


def _read_idx(file: Path, dimensions: int) -> np.ndarray:
    """The uint8 array of an IDX file (LeCun's format), unpacked or gzipped."""
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            content = stream.read()
    except (OSError, EOFError, zlib.error) as error:
        raise _refusal("root", file, f"cannot be read: {_one_line(error)}") from None
    magic = bytes((0, 0, 8, dimensions))  # 8: unsigned bytes
    if content[:4] != magic:
        raise _refusal(
            "root", file, f"opens with {content[:4].hex()!r}, where an IDX file has {magic.hex()!r}"
        )
    start = 4 + 4 * dimensions
    shape = [int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4)]
    expected = start + int(np.prod(shape, dtype=object))
    if len(content) != expected:
        raise _refusal(
            "root", file, f"has {len(content)} bytes, where its header promises {expected}"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


# Folders of images


def _load_image_folder(spec: DataSpec, on_progress: Progress | None) -> DataSet:
    """`root/train/CLASS/*`, and `root/test/CLASS/*` where there is one.

    The shorter side is resized to the resolution (bilinear, antialiased) and the center cropped,
    as torchvision does it; a JPEG of four times that size or more is decoded at a fraction of it.
    Images have 1 channel where every training image is 8-bit gray (PIL's mode L), else 3.
    """
    root = _root(spec, "train/CLASS/* and, optionally, test/CLASS/*")
    resolution = spec.resolution
    if resolution is None:
        raise _refusal("resolution", None, "is no size; image_folder needs one, in pixels")
    if not (root / "train").is_dir():
        raise _refusal("root", spec.root, "has no folder train/ with a folder for each class in it")
    train_files = _list_classes(root / "train")
    classes = tuple(train_files)
    if len(classes) < 2:
        raise _refusal(
            "root", root / "train", f"has {len(classes)} class folders; it takes 2 to tell apart"
        )
    files, labels = _flatten(train_files, classes)
    held_out, kept = _split(labels, classes, spec)
    test_files, test_labels = _flatten(_list_test(root / "test", classes), classes)

    done, total = 0, len(kept) + len(held_out) + len(test_files)

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if on_progress is not None:
            on_progress(done, total)

    # Of every training image, also those that `train_images` leaves out: the number of channels
    # must not hang on a draw. The first image in color ends it.
    mode = "L" if all(_mode(file) == "L" for file in files) else "RGB"

    def read(chosen: Sequence[str], chosen_labels: np.ndarray) -> Split:
        return Split(_read_images(chosen, mode, resolution, advance), chosen_labels)

    train = read([files[index] for index in kept], labels[kept])
    validation = read([files[index] for index in held_out], labels[held_out])
    test = read(test_files, test_labels) if test_files else None
    return _data_set(spec, classes, train, validation, test, True, resolution // 8)


def _list_classes(folder: Path) -> dict[str, list[str]]:
    """The image files of each class folder in `folder`, at any depth, sorted; none hidden."""
    names = sorted(
        path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )
    classes: dict[str, list[str]] = {}
    for name in names:
        found = []
        for parent, folders, files in os.walk(folder / name, followlinks=True):
            folders[:] = [inner for inner in folders if not inner.startswith(".")]
            found += [
                os.path.join(parent, file)
                for file in files
                if not file.startswith(".") and file.lower().endswith(IMAGE_EXTENSIONS)
            ]
        if not found:
            raise _refusal(
                "root",
                folder / name,
                f"is a class folder without an image ({', '.join(IMAGE_EXTENSIONS)})",
            )
        classes[name] = sorted(found)
    return classes


def _list_test(folder: Path, classes: Sequence[str]) -> dict[str, list[str]]:
    if not folder.is_dir():
        return {}
    test_files = _list_classes(folder)
    if not test_files:
        raise _refusal(
            "root", folder, "has no class folders; rename it if its images are not labeled"
        )
    for name in test_files:
        if name not in classes:
            raise _refusal("root", folder / name, "is a class that train/ does not have")
    return test_files


def _flatten(files: dict[str, list[str]], classes: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """All files, class after class, and the index in `classes` of each one's class."""
    flat = [file for name in files for file in files[name]]
    labels = np.asarray([classes.index(name) for name in files], dtype=np.int64)
    return flat, np.repeat(labels, [len(files[name]) for name in files])


def _read_images(
    files: Sequence[str], mode: str, resolution: int, advance: Callable[[int], None]
) -> np.ndarray:
    """The images as uint8 (N, C, resolution, resolution), C = 1 for mode L and 3 for RGB."""
    shape = (len(files), 1 if mode == "L" else 3, resolution, resolution)
    try:
        images = np.empty(shape, dtype=np.uint8)
    except (MemoryError, ValueError):  # NumPy's ValueError: more than a machine can address
        size = int(np.prod(shape, dtype=object)) / 2**30
        raise _refusal(
            "resolution",
            resolution,
            f"makes {len(files)} images take {size:.0f} GiB, more than this machine's memory "
            "holds; lower it or set `data.train_images`",
        ) from None

    def fill(start: int) -> int:
        chunk = files[start : start + _FILES_PER_TASK]
        for index, file in enumerate(chunk, start):
            images[index] = _read_image(file, mode, resolution)
        return len(chunk)

    # PIL decodes without the GIL; for images so small that they spend more time with it than
    # without, threads beyond a few only get in each other's way.
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for count in pool.map(fill, range(0, len(files), _FILES_PER_TASK)):
            advance(count)
    return images


def _mode(file: str) -> str:
    try:
        with Image.open(file) as image:
            return image.mode
    except Exception as error:  # a broken file makes PIL's plug-ins raise nearly anything
        raise _refusal("root", file, f"is not a readable image: {_one_line(error)}") from None


def _read_image(file: str, mode: str, resolution: int) -> np.ndarray:
    """One image as uint8 (C, resolution, resolution)."""
    try:
        with Image.open(file) as image:
            depth = image.mode
            if not depth.startswith(("I", "F")):
                # JPEG decodes at 1/2, 1/4 or 1/8 for a fraction of the time; what is left is at
                # least twice the size wanted, and resizing brings that down without aliasing.
                drafted = image.draft(None, (2 * resolution, 2 * resolution))
                box = drafted[1] if drafted else (0, 0, *image.size)
                pixels = np.asarray(_resize(image.convert(mode), box, resolution))
                return pixels[np.newaxis] if mode == "L" else pixels.transpose(2, 0, 1)
    except Exception as error:  # as in `_mode`
        raise _refusal("root", file, f"is not a readable image: {_one_line(error)}") from None
    # Converting would clip at 255 and say nothing.
    raise _refusal("root", file, f"has more than 8 bits a channel (PIL's mode {depth})")


def _resize(
    image: Image.Image, box: tuple[float, float, float, float], resolution: int
) -> Image.Image:
    """Shorter side to `resolution`, center cropped: torchvision's Resize and CenterCrop.

    `box` is the part of `image` that is picture: a JPEG decoded at 1/8 ends in part of a pixel.
    """
    width, height = box[2:]
    short = min(width, height)
    if short != resolution:
        size = (int(resolution * width / short), int(resolution * height / short))
        image = image.resize(size, Image.Resampling.BILINEAR, box)
    if image.size != (resolution, resolution):
        left = round((image.width - resolution) / 2)
        top = round((image.height - resolution) / 2)
        image = image.crop((left, top, left + resolution, top + resolution))
    return image
