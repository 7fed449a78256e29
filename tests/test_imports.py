"""The rows of modules: imports only go down, and the heavy libraries stay where they belong."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

#: Row of each module; an import may go to a lower row only (1 is the top) or stay inside its own subject.
ROWS = {
    "cli": 1,
    "pipeline.commands": 1,
    "pipeline.stages": 2,
    "pipeline.report": 3,
    "pipeline.tables": 3,
    "pipeline.inspection": 3,
    "pipeline.prediction": 3,
    "pipeline.export": 3,
    "pipeline.cost": 3,
    "pipeline.latency": 3,
    "pipeline.page": 3,
    "pipeline.plots": 3,
    "pipeline.diagnosis": 3,
    "pipeline.comparison": 3,
    "pipeline.listing": 3,
    "pipeline.following": 3,
    "pipeline.training": 4,
    "pipeline.packing": 4,
    "pipeline.checkpoint": 4,
    "pipeline.optimizer": 4,
    "pipeline.losses": 5,
    "pipeline.evaluation": 5,
    "pipeline.ensembles": 5,
    "pipeline.retrieval": 5,
    "pipeline.statistics": 5,
    "pipeline.bootstrap": 5,
    "pipeline.models": 6,
    "pipeline.layers": 6,
    "pipeline.augmentation": 6,
    "pipeline.relations": 6,
    "pipeline.cache": 6,
    "pipeline.features": 7,
    "pipeline.audio": 7,
    "pipeline.hearing": 7,
    "pipeline.containers": 7,
    "pipeline.decoding": 7,
    "pipeline.synthetic": 7,
    "pipeline.runs": 7,
    "pipeline.fetch": 7,
    "pipeline.verify": 7,
    "pipeline.published": 7,
    "pipeline.cifar": 7,
    "pipeline.corpus": 8,
    "pipeline.config": 8,
    "pipeline.extras": 8,
    "pipeline.spelling": 8,
    "pipeline.locks": 8,
    "pipeline.shadowing": 8,
    "pipeline.presets": 9,
    "pipeline.signals": 8,
    "pipeline": 9,
}

FILES = [ROOT / "cli.py", *sorted((ROOT / "pipeline").rglob("*.py"))]


def subject(module: str) -> str | None:
    """The longest entry of ROWS that ``module`` is or lies in."""
    found = [name for name in ROWS if module == name or module.startswith(name + ".")]
    return max(found, key=len) if found else None


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.split(".")[0] in ("pipeline", "cli")}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_only_go_down(path: Path) -> None:
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    own = subject(module)
    assert own is not None and (own != "pipeline" or module == "pipeline"), f"{module} has no row"
    for name in imports(path):
        other = subject(name)
        assert other is not None
        if other not in (own, "pipeline"):
            assert ROWS[other] >= ROWS[own], f"{module} (row {ROWS[own]}) imports {name} (row {ROWS[other]})"


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        ("pipeline.stages.training", ("librosa", "soundfile", "matplotlib")),
        ("pipeline.stages.extraction", ("torch",)),
        ("cli", ("torch", "librosa", "numpy")),
    ],
)
def test_what_a_module_leaves_out(modules: str, absent: tuple[str, ...]) -> None:
    code = f"import sys, {modules}; print([m for m in {absent!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
