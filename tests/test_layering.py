"""The floors: anynet below search below analysis, and the order of the files within anynet."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Each file may import those before it (docs/design.md). Imports inside functions, which break a
# circle or keep a start-up light, are exempt; the floors below hold for those too.
ANYNET = (
    "errors",
    "checks",
    "files",
    "layers",
    "blocks",
    "choices",
    "reference",
    "network",
    "counting",
    "allocations",
    "memory",
    "plugins",
    "regnet",
    "line_fit",
    "limits",
    "sequences",
    "ranges",
    "space",
    "sampling",
    "density",
    "distinct",
    "grouped_conv",
    "reference_modules",
    "model",
    "measure",
    "textbook",
    "exchange.pycls",
    "exchange.pycls_sweep",
    "exchange.pycls_sweep_writer",
    "exchange.names",
    "exchange.metadata",
    "exchange.torchvision",
    "exchange.timm",
    "exchange.d2l",
    "exchange.folding",
    "exchange.safetensors",
    "exchange.graphs",
    "export",
    "terminal",
    "commands",
    "cost_command",
    "cli",
    "demo",
)
FORBIDDEN = {"anynet": {"search", "analysis"}, "search": {"analysis"}, "analysis": set()}
SCHEMA = "search.trial"
CONDUCTOR = "design.py"
"""The file of analysis that runs sweeps, by design."""


HEAVY = {"torch", "torchvision", "timm", "onnx", "ray", "pandas", "matplotlib", "optuna"}


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(tree: ast.AST) -> Iterator[str]:
    """Dotted names of all modules that a piece of code imports; of `from a import b`, a.b too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative imports hide their floor"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def at_start(tree: ast.Module) -> ast.Module:
    """What runs when a module is imported: no function bodies, nothing under TYPE_CHECKING."""

    class Strip(ast.NodeTransformer):
        def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
            return None

        def visit_If(self, node: ast.If) -> ast.If | None:
            return None if "TYPE_CHECKING" in ast.dump(node.test) else node

    return Strip().visit(tree)


@pytest.mark.parametrize("package", FORBIDDEN)
def test_no_floor_imports_one_above_it(package):
    assert files(package)
    for path in files(package):
        above = {name.split(".")[0] for name in imports(parse(path))} & FORBIDDEN[package]
        assert not above, f"{path.relative_to(ROOT)} imports {', '.join(above)}"


def test_of_search_analysis_knows_the_record_alone():
    for path in files("analysis"):
        known = {name for name in imports(parse(path)) if name.split(".")[0] == "search"}
        others = {name for name in known if not f"{name}.".startswith(f"{SCHEMA}.")} - {"search"}
        if "search" in known:  # `from search import trial` yields search and search.trial
            assert known - {"search"}, f"{path.relative_to(ROOT)} imports the package search"
        if path.name != CONDUCTOR:
            assert not others, f"{path.relative_to(ROOT)} imports {', '.join(sorted(others))}"


def test_every_file_of_anynet_has_its_place():
    found = {
        ".".join(path.relative_to(ROOT / "anynet").with_suffix("").parts)
        for path in files("anynet")
        if path.stem != "__init__"
    }
    assert found <= set(ANYNET), f"add {sorted(found - set(ANYNET))} to the order in {__file__}"
    assert set(ANYNET) <= found


@pytest.mark.parametrize("name", ANYNET)
def test_files_of_anynet_import_those_before_them(name):
    before = ANYNET[: ANYNET.index(name)]
    path = ROOT / "anynet" / f"{name.replace('.', '/')}.py"
    found = {i[7:] for i in imports(at_start(parse(path))) if i.startswith("anynet.")}
    later = found & set(ANYNET) - set(before)
    assert not later, f"anynet/{name}.py imports {', '.join(sorted(later))}, which come later"


def test_nothing_but_the_package_file_imports_names_of_the_package():
    # `from anynet import Network` in a file of anynet would hide which file it needs.
    for path in files("anynet"):
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.ImportFrom) and node.module == "anynet":
                assert {alias.name for alias in node.names} <= set(ANYNET), path


def test_torch_stays_in_the_files_that_build():
    building = {"grouped_conv.py", "measure.py", "model.py", "reference_modules.py"}
    for path in files("anynet"):
        found = {name.split(".")[0] for name in imports(at_start(parse(path)))}
        if path.name not in building:
            assert not found & HEAVY


def test_the_check_sees_what_it_forbids():
    names = set(imports(ast.parse("def f():\n    from search.sweep import run_sweep\n")))
    assert "search.sweep" in names
    assert not set(imports(at_start(ast.parse("def f():\n    import search\n"))))
    hidden = "if TYPE_CHECKING:\n    import search\nimport anynet.files\n"
    assert list(imports(at_start(ast.parse(hidden)))) == ["anynet.files"]
