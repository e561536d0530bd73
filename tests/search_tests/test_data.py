"""Data sets: what is read, how it is split, and what is said when it cannot be.

Every file is tiny and written here; only scikit-learn's digits are real.
"""

from __future__ import annotations

import gzip
import hashlib
import pickle
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from PIL import Image

from anynet.errors import InputError
from search import data
from search.data import DataSet, Split, load
from search.sweep_file import DataSpec

STEMS = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
TEST_STEMS = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a test reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def refused(spec: DataSpec) -> str:
    """The message, without its source, of the one-line InputError that `spec` ends in."""
    with pytest.raises(InputError) as caught:
        load(spec, source="sweep.yaml")
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.startswith("sweep.yaml: data.")
    return message.removeprefix("sweep.yaml: ")


# Tiny files


def idx_bytes(array: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes((0, 0, 8, array.ndim)) + sizes + array.astype(np.uint8).tobytes()


def numbered(count: int, side: int, first: int = 0) -> np.ndarray:
    """uint8 (count, side, side); the first two pixels spell an image's number, from `first`."""
    images = np.full((count, side, side), 7, dtype=np.uint8)
    images[:, 0, 0], images[:, 0, 1] = np.divmod(np.arange(first, first + count), 256)
    return images


def numbers(split: Split) -> np.ndarray:
    """The numbers that `numbered` gave the images of a split."""
    return split.images[:, 0, 0, 0].astype(int) * 256 + split.images[:, 0, 0, 1]


def write_idx(
    folder: Path, *, packed: bool = False, per_class: int = 20, side: int = 6
) -> tuple[np.ndarray, np.ndarray]:
    """Four IDX files in `folder`; returns the training images and labels. Tests: 3 a class."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = np.random.default_rng(5).permutation(np.repeat(np.arange(10), per_class))
    images = numbered(len(labels), side)
    content = {
        STEMS[0]: images,
        STEMS[1]: labels,
        TEST_STEMS[0]: numbered(30, side, first=1000),
        TEST_STEMS[1]: np.repeat(np.arange(10), 3),
    }
    for name, array in content.items():
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx_bytes(array)))
        else:
            (folder / name).write_bytes(idx_bytes(array))
    return images, labels


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    write_idx(tmp_path / "mnist")
    return tmp_path / "mnist"


WriteImage = Callable[[Path, int], None]


def write_gray(path: Path, number: int) -> None:
    Image.fromarray(numbered(1, 8, number)[0]).save(path)


def write_color(path: Path, number: int) -> None:
    pixels = np.repeat(numbered(1, 8, number)[0][..., np.newaxis], 3, axis=2)
    pixels[..., 1] = 50
    Image.fromarray(pixels).save(path)


def write_folder(
    folder: Path, counts: dict[str, int], write: WriteImage = write_color, first: int = 0
) -> Path:
    number = first
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for _ in range(count):
            write(folder / name / f"{number:04}.png", number)
            number += 1
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """12 cats and 8 dogs to train on, 3 dogs to test, 8x8 in color."""
    write_folder(tmp_path / "photos" / "train", {"cat": 12, "dog": 8})
    write_folder(tmp_path / "photos" / "test", {"dog": 3}, first=500)
    return tmp_path / "photos"


def folder_spec(root: Path, **fields: object) -> DataSpec:
    return DataSpec("image_folder", **{"root": str(root), "resolution": 8, **fields})


# What every data set promises


def assert_sound(held: DataSet) -> None:
    splits = [held.train, held.validation] + ([held.test] if held.test else [])
    for split in splits:
        assert split.images.dtype == np.uint8
        assert split.labels.dtype == np.int64
        assert split.images.flags.c_contiguous
        assert split.images.shape[1:] == (held.channels, held.resolution, held.resolution)
        assert len(split) == len(split.images) == len(split.labels) > 0
        assert split.labels.min() >= 0
        assert split.labels.max() < len(held.classes)
    for split in splits[:2]:
        assert np.bincount(split.labels, minlength=len(held.classes)).min() >= 1
    scaled = held.train.images.astype(np.float64) / 255
    np.testing.assert_allclose(held.mean, scaled.mean(axis=(0, 2, 3)), rtol=1e-9)
    assert len(held.mean) == len(held.std) == held.channels


def same(a: Split | None, b: Split | None) -> bool:
    assert a is not None
    assert b is not None
    return np.array_equal(a.images, b.images) and np.array_equal(a.labels, b.labels)


def test_digits() -> None:
    held = load(DataSpec("digits"))
    assert_sound(held)
    assert held.test is not None
    assert (held.channels, held.resolution, held.classes) == (1, 8, tuple("0123456789"))
    assert (held.flip, held.crop_padding) == (False, 1)
    assert len(held.test) == 359
    assert len(held.validation) == 144
    assert len(held.train) + len(held.validation) + len(held.test) == 1797
    assert held.train.images.max() == 255
    scaled = held.train.images / 255
    np.testing.assert_allclose(held.std, scaled.std(axis=(0, 2, 3)), rtol=1e-9)


def test_digits_parts_are_the_whole() -> None:
    from sklearn.datasets import load_digits

    held = load(DataSpec("digits"))
    assert held.test is not None
    parts = np.concatenate([held.train.images, held.validation.images, held.test.images])
    whole = np.rint(load_digits().images * (255 / 16)).astype(np.uint8)
    assert sorted(image.tobytes() for image in parts) == sorted(image.tobytes() for image in whole)


def test_split_seed_draws_validation_and_never_the_test_split() -> None:
    first, again, other = (load(DataSpec("digits", split_seed=seed)) for seed in (0, 0, 1))
    assert same(first.train, again.train)
    assert same(first.validation, again.validation)
    assert not same(first.validation, other.validation)
    assert same(first.test, other.test)
    fewer = load(DataSpec("digits", validation=0.3, train_images=200))
    assert same(first.test, fewer.test)


def test_splits_cannot_be_written_and_pickle_out_of_band() -> None:
    held = load(DataSpec("digits"))
    with pytest.raises(ValueError, match="read-only"):
        held.train.images[0] = 0
    buffers: list[pickle.PickleBuffer] = []
    message = pickle.dumps(held, protocol=5, buffer_callback=buffers.append)
    assert len(message) < 2000
    assert len(buffers) == 6
    back = pickle.loads(message, buffers=buffers)
    assert same(back.train, held.train)
    assert same(back.test, held.test)
    assert back.mean == held.mean


@pytest.mark.parametrize(
    ("images", "labels", "rule"),
    [
        (np.zeros((2, 1, 4, 4)), np.zeros(2, np.int64), "images: float64 .* must be uint8"),
        (np.zeros((2, 1, 4, 5), np.uint8), np.zeros(2, np.int64), r"images: .*\(2, 1, 4, 5\)"),
        (np.zeros((4, 4, 1, 2), np.uint8).T, np.zeros(2, np.int64), "C-contiguous"),
        (np.zeros((2, 1, 4, 4), np.uint8), np.zeros(3, np.int64), r"labels: .*\(3,\) must be"),
        (np.zeros((2, 1, 4, 4), np.uint8), np.zeros(2, np.int32), "labels: int32"),
    ],
)
def test_split_refuses_other_arrays(images: np.ndarray, labels: np.ndarray, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        Split(images, labels)


def test_importing_and_loading_needs_no_torch(photos: Path) -> None:
    code = (
        "import sys; from search.data import load; from search.sweep_file import DataSpec;"
        f"load(DataSpec('image_folder', root={str(photos)!r}, resolution=8));"
        "assert not {'torch', 'torchvision', 'ray'} & set(sys.modules)"
    )
    repository = Path(data.__file__).parents[1]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=repository)


# The split


def test_validation_is_disjoint_stratified_and_in_stored_order(mnist: Path) -> None:
    images, labels = write_idx(mnist, per_class=20)
    held = load(DataSpec("mnist", root=str(mnist), validation=0.25))
    train, validation = numbers(held.train), numbers(held.validation)
    assert sorted([*train, *validation]) == list(range(200))
    for split, at in ((held.train, train), (held.validation, validation)):
        assert (np.diff(at) > 0).all()
        np.testing.assert_array_equal(split.labels, labels[at])
        np.testing.assert_array_equal(split.images[:, 0], images[at])
    assert np.bincount(held.validation.labels).tolist() == [5] * 10


def test_validation_of_uneven_classes(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", {"few": 2, "many": 60, "some": 18})
    held = load(folder_spec(tmp_path, validation=0.25))
    assert np.bincount(held.validation.labels).tolist() == [1, 15, 4]
    assert np.bincount(held.train.labels).tolist() == [1, 45, 14]
    nearly_all = load(folder_spec(tmp_path, validation=0.999))
    assert np.bincount(nearly_all.train.labels).tolist() == [1, 1, 1]
    nearly_none = load(folder_spec(tmp_path, validation=0.001))
    assert np.bincount(nearly_none.validation.labels).tolist() == [1, 1, 1]


def test_train_images_are_a_proportional_part_of_what_is_left(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", {"few": 4, "many": 100, "some": 40})
    every = load(folder_spec(tmp_path, validation=0.25))
    assert np.bincount(every.train.labels).tolist() == [3, 75, 30]
    for wanted, expected in ((36, [1, 25, 10]), (4, [1, 2, 1]), (3, [1, 1, 1]), (108, [3, 75, 30])):
        held = load(folder_spec(tmp_path, validation=0.25, train_images=wanted))
        assert np.bincount(held.train.labels).tolist() == expected
        assert same(held.validation, every.validation)
        assert set(numbers(held.train)) <= set(numbers(every.train))
        assert_sound(held)


def test_shares_stay_within_one_image_of_proportional() -> None:
    rng = np.random.default_rng(3)
    for _ in range(200):
        counts = rng.integers(20, 500, size=rng.integers(2, 12))
        total = int(rng.integers(len(counts) * 25, counts.sum() + len(counts) * 25))
        total = min(total, int(counts.sum()))
        dealt = data._shares(counts, total, counts)
        assert dealt.sum() == total
        assert (dealt >= 1).all()
        assert (dealt <= counts).all()
        fair = counts * total / counts.sum()
        assert (np.abs(dealt - fair) < 1).all() or fair.min() < 1


def test_split_refusals(tmp_path: Path, photos: Path) -> None:
    write_folder(tmp_path / "train", {"cat": 5, "lynx": 1, "puma": 1})
    assert refused(folder_spec(tmp_path)) == (
        "data.validation: 0.1 needs 2 images or more of every class, one to hold out and one to "
        "train on, but class 'lynx' has 1 (and 1 more)"
    )
    assert refused(folder_spec(photos, train_images=19)) == (
        "data.train_images: 19 is more than the 18 training images that there are "
        "(with 2 held out for validation)"
    )
    assert refused(folder_spec(photos, train_images=1)) == (
        "data.train_images: 1 is fewer than 1 image for each of the 2 classes"
    )


# MNIST and Fashion-MNIST


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("layout", ["", "raw"])
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_idx_layouts(tmp_path: Path, name: str, layout: str, packed: bool) -> None:
    inner = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}[name]
    write_idx(tmp_path / inner / "raw" if layout else tmp_path, packed=packed)
    held = load(DataSpec(name, root=str(tmp_path)))
    assert_sound(held)
    assert held.test is not None
    assert (held.name, held.channels, held.resolution) == (name, 1, 6)
    assert (len(held.train), len(held.validation), len(held.test)) == (180, 20, 30)
    assert numbers(held.test).tolist() == list(range(1000, 1030))
    assert (held.flip, held.crop_padding) == (name == "fashion_mnist", 2)
    assert held.classes[9] == {"mnist": "9", "fashion_mnist": "Ankle boot"}[name]


def test_constant_channel_has_a_deviation_to_divide_by(tmp_path: Path) -> None:
    write_idx(tmp_path)
    (tmp_path / STEMS[0]).write_bytes(idx_bytes(np.full((200, 6, 6), 51)))
    held = load(DataSpec("mnist", root=str(tmp_path)))
    assert held.mean == pytest.approx((0.2,))
    assert held.std == (1 / 255,)


def test_root_is_relative_to_here_and_home(mnist: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(mnist.parent)
    assert len(load(DataSpec("mnist", root="mnist")).train) == 180
    monkeypatch.setenv("HOME", str(mnist.parent))
    assert len(load(DataSpec("mnist", root="~/mnist")).train) == 180


def test_fashion_mnist_of_the_debian_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "fashion-mnist"
    monkeypatch.setattr(data, "FASHION_MNIST_PACKAGE", package)
    message = refused(DataSpec("fashion_mnist"))
    assert message.startswith(f"data.root: None stands for {package}, which is not there")
    for way_out in ("apt-get install dataset-fashion-mnist", "`data.root`", "data.download: true"):
        assert way_out in message
    assert refused(DataSpec("fashion_mnist", download=True)) == message
    write_idx(package, packed=True)
    assert len(load(DataSpec("fashion_mnist")).train) == 180
    (package / f"{TEST_STEMS[1]}.gz").unlink()
    assert refused(DataSpec("fashion_mnist")).startswith(
        f"data.root: '{package}' holds no {TEST_STEMS[1]} (or .gz)"
    )


@pytest.mark.parametrize("name", ["mnist", "cifar10", "image_folder"])
def test_root_refusals(tmp_path: Path, name: str) -> None:
    assert f"data.root: None is no folder; {name} needs one that holds" in refused(
        DataSpec(name, resolution=8)
    )
    absent = tmp_path / "absent"
    assert refused(DataSpec(name, root=str(absent), resolution=8)) == (
        f"data.root: '{absent}' no such folder"
    )
    (tmp_path / "file").touch()
    assert refused(DataSpec(name, root=str(tmp_path / "file"), resolution=8)) == (
        f"data.root: '{tmp_path / 'file'}' is a file, where a folder is expected"
    )


def test_a_folder_that_may_not_be_read(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", deny)
    assert refused(folder_spec(photos)) == (
        f"data.root: '{photos / 'train'}' cannot be read: permission denied"
    )


def test_missing_idx_files_are_named(mnist: Path) -> None:
    (mnist / STEMS[1]).unlink()
    assert refused(DataSpec("mnist", root=str(mnist))) == (
        f"data.root: '{mnist}' holds no {STEMS[1]} (or .gz), neither directly nor in MNIST/raw; "
        "put the IDX files there or set `data.download: true`"
    )


def broken_idx() -> list[tuple[str, str, bytes, str]]:
    images, labels = np.zeros((200, 6, 6)), np.repeat(np.arange(10), 20)
    packed = gzip.compress(idx_bytes(images))
    pixels, digits = STEMS
    return [
        ("truncated", pixels, idx_bytes(images)[:-1], "has 7215 bytes, where .* promises 7216"),
        ("too long", pixels, idx_bytes(images) + b"1", "has 7217 bytes, where .* promises 7216"),
        ("header cut", pixels, idx_bytes(images)[:9], "has 9 bytes, where"),
        ("empty", pixels, b"", "opens with '', where an IDX file has '00000803'"),
        ("other magic", pixels, idx_bytes(labels), "opens with '00000801', where .*'00000803'"),
        ("gzip cut", f"{pixels}.gz", packed[:-30], "cannot be read: "),
        ("gzip flipped", f"{pixels}.gz", packed[:40] + b"\xff\xff" + packed[42:], "cannot be read"),
        ("no gzip", f"{pixels}.gz", idx_bytes(images), "cannot be read: Not a gzipped file"),
        ("not square", pixels, idx_bytes(np.zeros((200, 6, 4))), "200 images of 6x4, where squ"),
        ("no images", pixels, idx_bytes(np.zeros((0, 6, 6))), "holds 0 images"),
        ("fewer labels", digits, idx_bytes(labels[1:]), "holds 199 labels for 200 images"),
        ("wild label", digits, idx_bytes(labels + 3), "holds a label 12, where 0 to 9 belong"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "rule"), [pytest.param(*row[1:], id=row[0]) for row in broken_idx()]
)
def test_broken_idx_file(mnist: Path, name: str, content: bytes, rule: str) -> None:
    (mnist / name.removesuffix(".gz")).unlink()
    (mnist / name).write_bytes(content)
    message = refused(DataSpec("mnist", root=str(mnist)))
    opening, _, rest = message.partition(f"{mnist / name}' ")
    assert opening == "data.root: '"
    assert re.match(f".*{rule}", rest), message


def test_idx_test_images_of_another_size(mnist: Path) -> None:
    (mnist / TEST_STEMS[0]).write_bytes(idx_bytes(np.zeros((30, 5, 5))))
    assert refused(DataSpec("mnist", root=str(mnist))) == (
        f"data.root: '{mnist / TEST_STEMS[0]}' holds images of 5 pixels a side, those to train on 6"
    )


def test_mnist_class_without_images(mnist: Path) -> None:
    labels = np.repeat(np.arange(10), 20)
    labels[labels == 4] = 3
    (mnist / STEMS[1]).write_bytes(idx_bytes(labels))
    assert "class '4' has 0" in refused(DataSpec("mnist", root=str(mnist)))


# Fields that do not go together


def test_only_image_folder_resizes(mnist: Path) -> None:
    assert load(DataSpec("digits", resolution=8)).resolution == 8
    assert refused(DataSpec("digits", resolution=16)) == (
        "data.resolution: 16 is not digits's own 8; only image_folder resizes"
    )
    assert refused(DataSpec("mnist", root=str(mnist), resolution=28)) == (
        "data.resolution: 28 is not mnist's own 6; only image_folder resizes"
    )


def test_digits_take_no_root() -> None:
    assert refused(DataSpec("digits", root="/data")) == (
        "data.root: '/data' has no use: digits come with scikit-learn"
    )


@pytest.mark.parametrize("name", ["digits", "image_folder"])
def test_nothing_to_download(name: str) -> None:
    assert refused(DataSpec(name, download=True)) == (
        f"data.download: True there is nothing to download for {name}"
    )


# CIFAR-10


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torchvision's layout: 5 batches of 20 and a test batch of 10, with MD5 sums to match."""
    from torchvision.datasets import CIFAR10

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()

    def write(name: str, content: object) -> str:
        raw = pickle.dumps(content)
        (folder / name).write_bytes(raw)
        return hashlib.md5(raw).hexdigest()

    def batch(count: int, first: int) -> dict[str, object]:
        images = np.zeros((count, 3, 32, 32), dtype=np.uint8)
        images[:, 0] = numbered(count, 32, first)
        images[:, 2] = 255
        return {"data": images.reshape(count, -1), "labels": [at % 10 for at in range(count)]}

    names = [f"data_batch_{number}" for number in range(1, 6)]
    train = [[name, write(name, batch(20, 20 * at))] for at, name in enumerate(names)]
    test = [["test_batch", write("test_batch", batch(10, 1000))]]
    labels = {"label_names": [f"class {number}" for number in range(10)]}
    meta = {**CIFAR10.meta, "md5": write("batches.meta", labels)}
    monkeypatch.setattr(CIFAR10, "train_list", train)
    monkeypatch.setattr(CIFAR10, "test_list", test)
    monkeypatch.setattr(CIFAR10, "meta", meta)
    return tmp_path


def test_cifar10(cifar: Path) -> None:
    held = load(DataSpec("cifar10", root=str(cifar)))
    assert_sound(held)
    assert held.test is not None
    assert (held.channels, held.resolution, held.classes[3]) == (3, 32, "class 3")
    assert (held.flip, held.crop_padding) == (True, 4)
    assert sorted([*numbers(held.train), *numbers(held.validation)]) == list(range(100))
    assert numbers(held.test).tolist() == list(range(1000, 1010))
    np.testing.assert_array_equal(held.train.labels, numbers(held.train) % 10)
    assert held.mean[1:] == (0.0, 1.0)
    assert (held.train.images[:, 2] == 255).all()


def test_cifar10_absent_or_corrupt(cifar: Path, tmp_path: Path) -> None:
    rule = "does not hold an intact cifar-10-batches-py (the files' MD5 sums are checked); "
    (tmp_path / "empty").mkdir()
    assert refused(DataSpec("cifar10", root=str(tmp_path / "empty"))) == (
        f"data.root: '{tmp_path / 'empty'}' {rule}put it there or set `data.download: true`"
    )
    with (cifar / "cifar-10-batches-py" / "data_batch_3").open("ab") as file:
        file.write(b"!")
    assert refused(DataSpec("cifar10", root=str(cifar))).startswith(f"data.root: '{cifar}' {rule}")


# Downloads


def test_download_goes_through_torchvision_and_only_for_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import mnist as module

    fetched = []

    def fetch(url: str, download_root: str, filename: str, md5: str) -> None:
        fetched.append(filename)
        source = tmp_path / "server" / filename
        name = filename.removesuffix(".gz")
        Path(download_root, name).write_bytes(gzip.decompress(source.read_bytes()))

    monkeypatch.setattr(module, "download_and_extract_archive", fetch)
    write_idx(tmp_path / "server", packed=True)
    root = tmp_path / "new" / "folder"
    assert refused(DataSpec("mnist", root=str(root))) == f"data.root: '{root}' no such folder"
    assert fetched == []
    assert len(load(DataSpec("mnist", root=str(root), download=True)).train) == 180
    assert len(fetched) == 4
    assert (root / "MNIST" / "raw" / STEMS[0]).is_file()
    load(DataSpec("mnist", root=str(root), download=True))
    load(DataSpec("mnist", root=str(root)))
    assert len(fetched) == 4


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
def test_a_download_that_fails(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import cifar, mnist

    def fail(*_: object, **__: object) -> None:
        raise URLError("no route\nto host")

    monkeypatch.setattr(mnist, "download_and_extract_archive", fail)
    monkeypatch.setattr(cifar, "download_and_extract_archive", fail)
    message = refused(DataSpec(name, root=str(tmp_path), download=True))
    assert message.startswith("data.download: True failed: ")
    assert "no route to host" in message


# Folders of images


def test_image_folder(photos: Path) -> None:
    held = load(folder_spec(photos))
    assert_sound(held)
    assert held.test is not None
    assert (held.classes, held.channels, held.resolution) == (("cat", "dog"), 3, 8)
    assert (held.flip, held.crop_padding) == (True, 1)
    assert sorted([*numbers(held.train), *numbers(held.validation)]) == list(range(20))
    np.testing.assert_array_equal(held.train.labels, numbers(held.train) >= 12)
    assert (held.train.images[:, 1] == 50).all()
    assert numbers(held.test).tolist() == [500, 501, 502]
    assert held.test.labels.tolist() == [1, 1, 1]
    assert same(held.train, load(folder_spec(photos)).train)


def test_image_folder_without_a_test_split(photos: Path) -> None:
    (photos / "test").rename(photos / "unused")
    assert load(folder_spec(photos)).test is None


def test_image_folder_reports_progress(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", {"cat": 40, "dog": 30})
    write_folder(tmp_path / "test", {"cat": 5})
    seen: list[tuple[int, int]] = []
    spec = folder_spec(tmp_path, train_images=50)
    load(spec, on_progress=lambda done, total: seen.append((done, total)))
    assert {total for _, total in seen} == {50 + 7 + 5}
    assert seen[-1][0] == 62
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert len(seen) > 3


def test_hidden_and_other_files_are_skipped_and_nested_ones_found(photos: Path) -> None:
    cats = photos / "train" / "cat"
    (photos / "train" / ".cache").mkdir()
    (cats / ".thumbnails").mkdir()
    write_color(cats / ".thumbnails" / "1.png", 900)
    (cats / "._0001.png").write_bytes(b"resource fork")
    (cats / "labels.csv").write_text("no image")
    (cats / "b" / "deep").mkdir(parents=True)
    write_color(cats / "b" / "deep" / "1.PNG", 100)
    held = load(folder_spec(photos))
    assert held.classes == ("cat", "dog")
    assert sorted([*numbers(held.train), *numbers(held.validation)]) == [*range(20), 100]


def test_gray_folders_have_one_channel(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", {"a": 30, "b": 30}, write_gray)
    write_folder(tmp_path / "test", {"b": 2}, write_color)
    held = load(folder_spec(tmp_path))
    assert_sound(held)
    assert held.channels == 1
    assert sorted([*numbers(held.train), *numbers(held.validation)]) == list(range(60))
    # One image in color anywhere makes all of them color, drawn or not.
    write_color(tmp_path / "train" / "b" / "9999.png", 60)
    for seed in range(3):
        spec = folder_spec(tmp_path, train_images=2, split_seed=seed)
        assert load(spec).channels == 3


def test_resizing_is_torchvisions(tmp_path: Path) -> None:
    from torchvision.transforms.v2 import functional

    rng = np.random.default_rng(0)
    sizes = [(19, 31), (40, 23), (12, 12), (13, 12), (5, 9), (24, 24)]  # height, width
    stored = []
    for index, size in enumerate(sizes):
        for name in ("a", "b"):
            (tmp_path / "train" / name).mkdir(parents=True, exist_ok=True)
            picture = Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8))
            picture.save(tmp_path / "train" / name / f"{index}.png")
            small = functional.center_crop(functional.resize(picture, [12]), [12])
            stored.append(np.asarray(small).transpose(2, 0, 1).tobytes())
            if size == (12, 12):
                assert small.tobytes() == picture.tobytes()
    held = load(folder_spec(tmp_path, resolution=12))
    loaded = [image.tobytes() for part in (held.train, held.validation) for image in part.images]
    assert sorted(loaded) == sorted(stored)


def test_large_jpegs_shrink_as_they_decode(tmp_path: Path) -> None:
    rows, columns = np.mgrid[0:300, 0:400]
    waves = np.stack([np.sin(rows / 29), np.cos(columns / 37), np.sin((rows + columns) / 51)], -1)
    picture = Image.fromarray((127 + 120 * waves).astype(np.uint8))
    for name in ("a", "b"):
        (tmp_path / "train" / name).mkdir(parents=True)
        for index in range(2):
            picture.save(tmp_path / "train" / name / f"{index}.jpg", quality=95)
    small = np.asarray(data._resize(picture, (0, 0, 400, 300), 16)).transpose(2, 0, 1)
    held = load(folder_spec(tmp_path, resolution=16))
    assert np.abs(held.train.images[0].astype(int) - small).max() <= 4


def test_image_extensions_are_torchvisions() -> None:
    from torchvision.datasets.folder import IMG_EXTENSIONS

    assert data.IMAGE_EXTENSIONS == IMG_EXTENSIONS


def test_image_folder_needs_a_resolution_that_fits(photos: Path) -> None:
    assert refused(folder_spec(photos, resolution=None)) == (
        "data.resolution: None is no size; image_folder needs one, in pixels"
    )
    message = refused(folder_spec(photos, resolution=10**6))
    assert message.startswith("data.resolution: 1000000 makes 18 images take ")
    assert message.endswith("memory holds; lower it or set `data.train_images`")


def test_image_folder_layout_refusals(tmp_path: Path, photos: Path) -> None:
    assert refused(folder_spec(tmp_path)) == (
        f"data.root: '{tmp_path}' has no folder train/ with a folder for each class in it"
    )
    write_folder(tmp_path / "train", {"only": 3})
    assert refused(folder_spec(tmp_path)) == (
        f"data.root: '{tmp_path / 'train'}' has 1 class folders; it takes 2 to tell apart"
    )
    (photos / "train" / "emu").mkdir()
    (photos / "train" / "emu" / ".hidden.png").touch()
    assert refused(folder_spec(photos)).startswith(
        f"data.root: '{photos / 'train' / 'emu'}' is a class folder without an image (.jpg, "
    )


def test_image_folder_test_split_refusals(photos: Path) -> None:
    write_folder(photos / "test", {"emu": 1})
    assert refused(folder_spec(photos)) == (
        f"data.root: '{photos / 'test' / 'emu'}' is a class that train/ does not have"
    )
    for file in sorted(photos.glob("test/*/*")):
        file.unlink()
    assert "is a class folder without an image" in refused(folder_spec(photos))
    for folder in sorted(photos.glob("test/*")):
        folder.rmdir()
    assert refused(folder_spec(photos)) == (
        f"data.root: '{photos / 'test'}' has no class folders; "
        "rename it if its images are not labeled"
    )


@pytest.mark.parametrize("part", ["train/cat/0000.png", "train/dog/0019.png", "test/dog/0501.png"])
@pytest.mark.parametrize("kind", ["cut", "noise", "empty"])
def test_corrupt_image_is_named(photos: Path, part: str, kind: str) -> None:
    broken = photos / part
    whole = broken.read_bytes()
    broken.write_bytes({"cut": whole[: len(whole) // 2], "noise": b"GIF?" * 99, "empty": b""}[kind])
    assert refused(folder_spec(photos)).startswith(
        f"data.root: '{broken}' is not a readable image: "
    )


def test_deep_images_are_refused(photos: Path) -> None:
    deep = photos / "train" / "dog" / "deep.png"
    Image.fromarray(np.full((8, 8), 40000, dtype=np.uint16)).save(deep)
    assert refused(folder_spec(photos)) == (
        f"data.root: '{deep}' has more than 8 bits a channel (PIL's mode I;16)"
    )
