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
    "pipeline.report.tables": 3,
    "pipeline.report.inspection": 3,
    "pipeline.deploy.prediction": 3,
    "pipeline.deploy.export": 3,
    "pipeline.deploy.cost": 3,
    "pipeline.deploy.latency": 3,
    "pipeline.report.page": 3,
    "pipeline.report.plots": 3,
    "pipeline.report.diagnosis": 3,
    "pipeline.report.comparison": 3,
    "pipeline.report.listing": 3,
    "pipeline.report.following": 3,
    "pipeline.training": 4,
    "pipeline.training.packing": 4,
    "pipeline.training.checkpoint": 4,
    "pipeline.training.optimizer": 4,
    "pipeline.losses": 5,
    "pipeline.figures.evaluation": 5,
    "pipeline.figures.ensembles": 5,
    "pipeline.figures.recall": 5,
    "pipeline.figures.statistics": 5,
    "pipeline.models": 6,
    "pipeline.models.layers": 6,
    "pipeline.training.augmentation": 6,
    "pipeline.relations": 6,
    "pipeline.cache": 6,
    "pipeline.features": 7,
    "pipeline.audio.reading": 7,
    "pipeline.audio.containers": 7,
    "pipeline.corpus.made_up": 7,
    "pipeline.runs": 7,
    "pipeline.corpus.fetch": 7,
    "pipeline.corpus.verification": 7,
    "pipeline.corpus.published": 7,
    "pipeline.images.cifar": 7,
    "pipeline.corpus": 8,
    "pipeline.config": 8,
    "pipeline.extras": 8,
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
        ("pipeline.engine.missing", ("librosa", "soundfile", "matplotlib")),
        ("pipeline.extraction.stage", ("torch",)),
        ("cli", ("torch", "librosa", "numpy")),
    ],
)
def test_what_a_module_leaves_out(modules: str, absent: tuple[str, ...]) -> None:
    code = f"import sys, {modules}; print([m for m in {absent!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
