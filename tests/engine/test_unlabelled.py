"""Noisy student from the command line: labels hidden, or a folder of clips without any; and nothing held out among them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline import cache
from pipeline.config import FeatureSpec
from pipeline.corpus import UNLABELLED
from tests import tiny

EXPERIMENT = """
[[step]]
name = "labels"
mix = "ce"

[[step]]
name = "noisy student"
mix = "ce:1,soft:3@rows=unlabelled"
teacher = "previous"
rounds = 2
sampler = "unlabelled:1"
input_noise = 0.1
"""
SPEC = FeatureSpec(seconds=0.2, bins=4, bins_per_octave=12)
HERE = ("--dataset", "folder", "--data", "own", "--set", "student.epochs=1", "--set", "student.batch=4", "--jobs", "1")
HERE = (*HERE, "--set", "features.bins=4", "--set", "features.bins_per_octave=12", "--set", "student.lr=0.01")


def write(root: Path, pool: bool = True, poison: int | None = None) -> Path:
    """A corpus of three folds with its features in place; ``poison``: a fold whose recordings hold NaN in the pool."""
    from tests.corpora import write_clip

    random = np.random.default_rng(0)
    rows = ["file,fold,source"]
    names: dict[int, list[str]] = {1: [], 2: [], 3: [], UNLABELLED: []}
    for fold in (1, 2, 3):
        for clip in range(6):
            name = f"{'ab'[clip % 2]}/f{fold}x{clip}.wav"
            rows.append(f"{name},{fold},rec{fold}-{clip}")
            names[fold].append(name)
    for clip in range(9 if pool else 0):
        name = f"unlabelled/p{clip}.wav"
        rows.append(f"{name},0,{f'rec{clip + 1}-0' if clip < 3 else f'pool{clip}'}")
        names[UNLABELLED].append(name)
    for name in (name for each in names.values() for name in each):
        write_clip(root / "own" / name, 0.2)
    (root / "own/folds.csv").write_text("\n".join(rows) + "\n")
    (root / "own/corpus.toml").write_text("seconds = 0.2\n")
    sources = {row.split(",")[0]: row.split(",")[2] for row in rows[1:]}
    for fold, each in names.items():
        if not each:
            continue
        each = sorted(each)
        labels = tuple(UNLABELLED if fold == UNLABELLED else "ab".index(name[0]) for name in each)
        header = cache.Header(
            *("own", "folder", False, fold, ("a", "b"), SPEC, tuple(each), labels),
            tuple(sources[name] for name in each),
            tuple(cache.File(name, 1, 0, f"sha of {name}") for name in each),
            units=("1",) * 5,
            calls=("",) * 5,
        )
        values = random.standard_normal(header.shape).astype(np.float32) + np.reshape(labels, (-1, 1, 1, 1, 1))
        if fold == UNLABELLED and poison:
            values[poison - 1] = np.nan
        cache.write_fold(cache.fold_path(root / "cache", "own", SPEC, fold), header, [values])
    return root


def results(where: Path) -> dict[str, dict[str, str]]:
    """Folder of each run → its result."""
    paths = sorted((where / "runs").rglob("result.json"))
    return {str(path.parent.relative_to(where)): json.loads(path.read_text()) for path in paths}


@pytest.mark.slow
def test_noisy_student_of_a_folder_without_labels_never_reads_the_held_out_recordings(tmp_path: Path) -> None:
    where, other = write(tmp_path / "one"), write(tmp_path / "other", poison=2)
    for place in (where, other):
        (place / "noisy.toml").write_text(EXPERIMENT)
        done = tiny.audio_rkd(place, "experiment", "noisy.toml", *HERE, "--folds", "2", "--set", "student.model=cnn2")
        assert done.returncode == 0, done.stderr
    one, two = results(where), results(other)
    assert len(one) == 3 and all(run["status"] != "failed" for run in one.values())
    for name, run in one.items():  # NaN in a clip of a held-out recording: the same bits
        assert run["weights"] == two[name]["weights"] and run["accuracy"] == two[name]["accuracy"]
    done = tiny.audio_rkd(where, "experiment", "noisy.toml", *HERE, "--folds", "2", "--set", "student.model=cnn2")
    assert done.returncode == 0 and "nothing to do" in done.stderr
    folder = next(path.parent for path in (where / "runs").rglob("result.json") if "noisy" in str(path))
    again = tiny.audio_rkd(where, "rerun", str(folder.relative_to(where)))
    assert again.returncode == 0, again.stdout + again.stderr


@pytest.mark.slow
def test_hidden_labels_are_the_teachers_too_and_each_seed_has_its_own(tmp_path: Path) -> None:
    where = write(tmp_path, pool=False)
    (where / "noisy.toml").write_text(EXPERIMENT)
    here = (
        *HERE,
        "--folds",
        "1",
        "--set",
        "teacher.model=cnn2",
        "--set",
        "teacher.epochs=1",
        "--set",
        "teacher.batch=4",
    )
    refused = tiny.audio_rkd(where, "experiment", "noisy.toml", *here)
    assert refused.returncode == 1 and "every clip has a label" in refused.stderr and not (where / "runs").exists()
    done = tiny.audio_rkd(where, "experiment", "noisy.toml", *here, "--set", "unlabelled=0.5", "--seeds", "0,1")
    assert done.returncode == 0, done.stderr
    for path in (where / "runs").rglob("config.json"):
        about = json.loads(path.read_text())
        assert about["settings"]["teacher"]["unlabelled"] == about["settings"]["student"]["unlabelled"] == 0.5
        for teacher in [about["teacher"]] if isinstance(about["teacher"], str) else about["teacher"] or []:
            assert Path(teacher).name == path.parent.name
    other = tiny.audio_rkd(where, "distill", *here, "--losses", "soft", "--set", "student.unlabelled=0.5")
    assert other.returncode == 1 and "Traceback" not in other.stderr


UNSURE = """
[[step]]
name = "labels"
mix = "ce"

[[step]]
name = "unsure"
mix = "ce:1,soft:3@rows=unlabelled"
teacher = "labels"
sampler = "unlabelled:1"
each.unlabelled_threshold = [0.9999999, 0.0]

[[step]]
name = "behind"
mix = "soft:1"
teacher = "unsure-unlabelled_threshold0.9999999"
"""


@pytest.mark.slow
def test_a_threshold_that_leaves_no_clip_costs_its_own_runs_and_those_behind_them(tmp_path: Path) -> None:
    where = write(tmp_path)
    (where / "unsure.toml").write_text(UNSURE)
    done = tiny.audio_rkd(where, "experiment", "unsure.toml", *HERE, "--set", "student.model=cnn2", "--folds", "2,3")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "leaves none of" in done.stderr and "is sure of none above 0." in done.stderr
    assert "expected less than that" in done.stderr
    status = {name: run["status"] for name, run in results(where).items()}
    assert sorted(status.values()).count("failed") == 2 and len(status) == 6, status
    for name, kind in status.items():
        settings = json.loads((where / name / "config.json").read_text())["settings"]["student"]
        assert (kind == "failed") == (settings["unlabelled_threshold"] == 0.9999999)
    again = tiny.audio_rkd(where, "experiment", "unsure.toml", *HERE, "--set", "student.model=cnn2", "--folds", "2,3")
    assert "to train" not in again.stderr and results(where).keys() == status.keys()
