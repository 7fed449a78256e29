"""What a reader has to hold in mind at once: files of at most 300 lines, functions of at most 50, formatted by rule."""

import ast
import re
from pathlib import Path

import pytest

from tests.tiny import ROOT

FILES = [
    *(ROOT / name for name in ("audio_rkd.py", "cli.py")),
    *sorted((ROOT / "pipeline").rglob("*.py")),
    *sorted((ROOT / "bench").glob("*.py")),
]

LONGEST_FILE, LONGEST_FUNCTION = 300, 50


def too_long(text: str) -> list[str]:
    """Functions over the limit, from ``def`` to their last line; the options above a command are a list, and do not count."""
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lines = {node.name: (node.end_lineno or node.lineno) - node.lineno + 1 for node in functions}
    return [f"{name}: {count} lines" for name, count in lines.items() if count > LONGEST_FUNCTION]


def test_a_function_that_is_too_long_is_seen() -> None:
    body = "    pass\n"
    assert too_long("def short():\n" + 49 * body) == []
    assert too_long("class A:\n  def long(self):\n" + 50 * body) == ["long: 51 lines"]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= LONGEST_FILE
    assert too_long(text) == []
    assert "fmt: " not in text and not re.search(r"^\s*# ?[-=]{4}", text, re.MULTILINE)
