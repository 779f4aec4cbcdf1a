"""The house rules that no linter knows: file and function length, module docstrings, no foreign words."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("argosy", "etcd", "control_plane", "node_agent", "deploy")
MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 100
SOURCES = sorted(
    path
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
    if "pb" not in path.relative_to(ROOT).parts
)


def _is_table(path: Path) -> bool:
    """A module that is only data (a wire table) may be long."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return not any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) for node in tree.body)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_file_is_readable_alone(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if not text.strip():
        return
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "a module says what it does and why"
    assert text.count("\n") <= MAX_FILE_LINES or _is_table(path), "one concept per file"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= MAX_FUNCTION_LINES, f"{node.name} has {length} lines"
