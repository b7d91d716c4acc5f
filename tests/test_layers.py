"""Imports go down one order of layers only, function-level ones too."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "diptych"
LAYER = {
    "specs": 0, "tower_specs": 0, "zoo": 0, "config": 0, "distributed": 0, "errors": 0, "tokens": 0, "progress": 0,
    "bounded": 0, "replacing": 0, "scaling": 0, "unpickle": 0, "printable": 0,
    "models": 1, "text": 1, "data": 1,
    "checkpoints": 2, "backends": 2,
    "encoder": 3, "search": 3,
    "curation": 4, "training": 4, "evaluation": 4,
    "serving": 5, "report": 5, "studies": 5,
    "cli": 6, "__init__": 6, "__main__": 6,
}  # fmt: skip
FILES = sorted(PACKAGE.rglob("*.py"))


def part(module: str) -> str:
    """The part of the package that a dotted name belongs to: ``diptych.models.clip`` is of ``models``."""
    names = module.split(".")
    return names[1] if len(names) > 1 else "__init__"


def imported(path: Path) -> set[str]:
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            module = node.module or ""
            modules |= {f"{module}.{alias.name}" for alias in node.names} if module == "diptych" else {module}
    return modules


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(PACKAGE)) for path in FILES])
def test_imports_go_down(path: Path) -> None:
    relative = path.relative_to(PACKAGE)
    own = relative.parts[0].removesuffix(".py")
    assert own in LAYER, f"{own} has no layer"
    for module in imported(path):
        if module.split(".")[0] == "torch":
            allowed = own == "distributed" or LAYER[own] > 0 or _only_for_types(path)
            assert allowed, f"layer 0 imports {module}"
            assert own != "report", "report never imports torch"
        if module.split(".")[0] != "diptych":
            continue
        other = part(module)
        among_equals = LAYER[other] == LAYER[own] and LAYER[own] in (0, 6)
        down = LAYER[other] < LAYER[own] or other == own or among_equals
        assert down, f"{relative} (layer {LAYER[own]}) imports {module} (layer {LAYER[other]})"


def _only_for_types(path: Path) -> bool:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    guarded = {
        node
        for test in ast.walk(tree)
        if isinstance(test, ast.If) and isinstance(test.test, ast.Name) and test.test.id == "TYPE_CHECKING"
        for node in ast.walk(test)
    }
    return all(
        node in guarded for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "torch"
    )
