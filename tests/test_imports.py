"""The rows of modules: imports only go down, and the heavy libraries stay where they belong."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

#: The rows of the house, from the top: a module imports from its own folder and from rows below, never sideways.
ROWS = (
    "audio_rkd",
    "cli",
    "pipeline.commands",
    "pipeline.deploy",
    "pipeline.report",
    "pipeline.search",
    "pipeline.experiments",
    "pipeline.engine",
    "pipeline.figures",
    "pipeline.runs",
    "pipeline.training",
    "pipeline.losses",
    "pipeline.models",
    "pipeline.relations",
    "pipeline.extraction",
    "pipeline.images",
    "pipeline.teacher_files",
    "pipeline.cache",
    "pipeline.features",
    "pipeline.corpus",
    "pipeline.audio",
    "pipeline.processes",
    "pipeline.progress",
    "pipeline.plugins",
    "pipeline.files",
    "pipeline.places",
    "pipeline.locks",
    "pipeline.working_folder",
    "pipeline.spelling",
    "pipeline.signals",
    "pipeline.extras",
    "pipeline.modules",
    "pipeline.config",
    "pipeline.presets",
    "pipeline.folder_contents",
    "pipeline.feature_settings",
    "pipeline.train_settings",
    "pipeline.bounds",
    "pipeline.digests",
    "pipeline.samplers",
    "pipeline.class_subsets",
    "pipeline.label_sets",
    "pipeline.listed",
    "pipeline.errors",
    "pipeline.system",
    "pipeline.plurals",
    "pipeline.goals",
    "pipeline",
)

FILES = [ROOT / "audio_rkd.py", ROOT / "cli.py", *sorted((ROOT / "pipeline").rglob("*.py"))]


def subject(module: str) -> str | None:
    """The longest entry of ROWS that ``module`` is or lies in."""
    rows = [name for name in ROWS if module == name or module.startswith(name + ".")]
    return max(rows, key=len) if rows else None


@functools.cache
def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@functools.cache
def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(text_of(path))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.split(".")[0] in ("pipeline", "cli", "audio_rkd")}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_only_go_down(path: Path) -> None:
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    row = subject(module)
    assert row is not None and (row != "pipeline" or module == "pipeline"), f"{module} has no row"
    for name in imports(path):
        other = subject(name)
        assert other is not None
        if other != row:
            assert ROWS.index(other) > ROWS.index(row), f"{module} imports {name}, which stands above it"


def test_every_module_that_is_imported_stands_in_this_folder() -> None:
    """Not only somewhere: an environment may hold another copy of the project, which a stale import would find.

    Also in tests and benchmarks, and in the programs that they start, which stand in them as text.
    """
    others = [path for folder in ("tests", "bench", "examples") for path in (ROOT / folder).rglob("*.py")]
    for path in (*FILES, *others):
        written = {".".join(pair) for pair in re.findall(r"from (pipeline[\w.]*) import (\w+)", text_of(path))}
        for name in imports(path) | written:
            place = ROOT.joinpath(*name.split("."))
            module = place.parent.with_suffix(".py"), place.parent / "__init__.py"
            there = place.with_suffix(".py").is_file() or place.is_dir()
            there = there or any(file.is_file() and place.name in text_of(file) for file in module)
            assert there, f"{path.relative_to(ROOT)} imports {name}, which is not here"


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        ("pipeline.engine.missing", ("librosa", "soundfile", "matplotlib")),
        ("pipeline.extraction.stage", ("torch",)),
        ("cli", ("torch", "librosa", "numpy")),
        ("audio_rkd", ("torch", "librosa", "numpy", "h5py", "scipy", "click")),
        ("pipeline.experiments.stages", ("torch", "scipy", "librosa")),
        ("pipeline.report", ("torch", "scipy", "matplotlib")),
        ("pipeline.report.page, pipeline.figures.embeddings", ("torch", "matplotlib", "sklearn", "joblib")),
    ],
)
def test_what_a_module_leaves_out(modules: str, absent: tuple[str, ...]) -> None:
    code = f"import sys, {modules}; print([m for m in {absent!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_mixes_are_read_without_the_files_of_their_losses() -> None:
    """A finished stage, and a table of its runs, name mixes of any loss: text, path name, what they read and need."""
    code = (
        "import sys; from pipeline import losses, models; from pipeline.losses import LossMix\n"
        "mix = LossMix.parse(','.join(losses.names())); mix.slug, mix.reads, mix.teacher_reads, mix.rows, mix.adapted\n"
        "assert models.names() and LossMix.parse(mix.slug) == mix; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
