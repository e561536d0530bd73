"""Every benchmark runs, and ends with the one JSON object that programs read."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NAMES = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_quick_benchmarks_print_their_figure(name):
    done = subprocess.run(
        [sys.executable, f"benchmarks/{name}.py", "--quick"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert list(result) == ["name", "figure", "unit", "target", "holds", "detail"]
    assert result["name"] == name
    assert result["figure"] > 0
    assert isinstance(result["holds"], bool)
