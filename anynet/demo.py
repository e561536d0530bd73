"""`anynet demo`: the whole job on bundled images, as the commands that a user would type."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

from anynet.files import to_yaml, write_text

SWEEP = {
    "space": [
        {
            "base": base,
            "stem": {"kind": "cifar", "width": 16},
            "strides": [1, 2, 2],
        }
        for base in ("anynetx_a", "regnetx")
    ],
    "networks": 24,
    "window": {"flops": [0.4e6, 0.6e6]},
    "data": {"name": "digits", "validation": 0.25},
    "recipe": {"lr": 0.1, "weight_decay": 5e-4, "batch_size": 32, "warmup_epochs": 1},
    "epochs": 12,
    "seed": 1,
}
COMMENT = (
    "AnyNetX_A against RegNetX at equal cost, on scikit-learn's 8x8 digits.\n"
    "Three stages, at 8, 4 and 2 pixels a side: the stem and the first stage keep the resolution."
)


def demo(*, out: Path = Path("anynet-demo")) -> int:
    """The whole job on bundled images (digits, CPU, a few minutes).

    Writes a sweep file, trains 24 networks of AnyNetX_A and 24 RegNets in one window of flops,
    draws their error distributions, and exports the best RegNet. Run again, it goes on where it
    was interrupted.

    Parameters
    ----------
    out
        Folder for everything it writes.
    """
    from anynet.cli import run

    sweep_file, folder = out / "sweep.yaml", out / "run"
    figure, best, pycls = out / "edf.png", out / "best_regnet.yaml", out / "best_regnet_pycls.yaml"
    clock = time.monotonic()
    write_text(sweep_file, to_yaml(SWEEP, COMMENT))
    export = ("export", folder, "--space", "regnetx")
    for command in (
        ("sweep", sweep_file, "--out", folder),
        ("edf", folder, "--out", figure, "--title", "digits, 12 epochs, 0.4 to 0.6 MFLOPs"),
        (*export, "--out", best),
        # pycls has stems for three channels only, and the digits are gray.
        (*export, "--to", "pycls", "--input-channels", "3", "--out", pycls),
        ("cost", best, "--resolution", "8"),
    ):
        arguments = [str(part) for part in command]
        print(f"\n$ anynet {shlex.join(arguments)}", flush=True)
        code = run(arguments)
        if code:
            return code
    print(f"\nDone in {time.monotonic() - clock:.0f} s. Written:")
    for path in (sweep_file, folder / "trials.jsonl", figure, best, pycls):
        print(f"  {path}")
    return 0
