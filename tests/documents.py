"""The examples in docs/extending.md."""

from __future__ import annotations

import re

from tests.tiny import ROOT


def example(name: str) -> str:
    """The Python block of docs/extending.md that defines ``name``."""
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (block,) = [block for block in blocks if re.search(rf"^(def|class) {name}\(", block, re.MULTILINE)]
    return block
