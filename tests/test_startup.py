"""What does not train does not wait for what trains: imports at start-up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = (
    "torch",
    "torchvision",
    "timm",
    "onnx",
    "ray",
    "pandas",
    "matplotlib",
    "optuna",
    "sklearn",
    "scipy",
)


def heavy_after(code: str) -> list[str]:
    """Which heavy modules a fresh interpreter holds after running `code`."""
    report = f"import sys; print('heavy:', *[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    *_, last = done.stdout.splitlines()
    assert last.startswith("heavy:")
    return last.split()[1:]


def of_command(*arguments: str) -> str:
    return f"from anynet.cli import run; assert run({list(arguments)!r}) == 0"


@pytest.mark.parametrize(
    "code",
    [
        of_command("--help"),
        "import anynet",
        "import anynet; anynet.Network, anynet.DesignSpace, anynet.cost, anynet.RegNet",
        of_command("spaces"),
        of_command("cost", "regnetx_400mf"),
        of_command("explain", "regnetx_400mf"),
        of_command("sample", "anynetx_a", "-n", "3", "--flops", "360e6:400e6"),
        of_command("sample", "--help"),
    ],
)
def test_nothing_heavy_is_imported(code):
    assert heavy_after(code) == []


def test_the_check_sees_what_it_forbids():
    assert "torch" in heavy_after("import anynet; anynet.build")


def test_the_names_of_the_package_are_there():
    code = "import anynet\nfor name in anynet.__all__: getattr(anynet, name)\n"
    assert heavy_after(f"{code}assert set(anynet._HOME) == set(anynet.__all__)")
    wrong = "try: anynet.nothing\nexcept AttributeError as error: assert 'nothing' in str(error)"
    assert heavy_after(f"import anynet\n{wrong}") == []
