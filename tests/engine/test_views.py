"""Changed copies from the sounds to a student, by the command line: with mixed inputs, one view of a clip in an epoch."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline import runs
from tests import tiny

HERE = ("--dataset", "urbansound8k", "--data", "clips", *tiny.QUICK, "--set", "features.views=2")
HERE += ("--set", "features.use=melspectrogram")
LEARN = ("--set", "student.views=random", "--set", "student.mixup=0.4", "--set", "teacher.mixup=0.4")


@pytest.mark.slow
def test_from_sounds_to_students(tmp_path: Path) -> None:
    """A stored teacher and one that hears the mixtures; a file of what the teacher says of each view gives the same student; a
    repetition gives the same bits."""
    tiny.write_corpus(tmp_path / "clips", clips=8)

    def command(name: str, *words: str) -> tiny.Done:
        done = tiny.audio_rkd(tmp_path, name, *words)
        assert done.returncode == 0, done.stderr
        return done

    assert "4 views each" in command("features", *HERE).stdout
    explained = command("experiment", "student", "--explain", *HERE, *LEARN).stdout
    assert (
        "4 views of every clip: clean, noisy, 2 changed" in explained
        and "one view of each clip in an epoch" in explained
    )
    how = ("--folds", "1", "--jobs", "1", *LEARN)
    command("teacher", *HERE, *how)
    live = command("distill", "--losses", "ce,hinton", "--losses", "angle,soft", *HERE, *how)
    assert "the teachers run in every step, on the inputs as they are mixed" in live.stderr
    folders = {path.parent.parent.name: path.parent for path in (tmp_path / "runs").rglob("result.json")}
    stored, heard = folders["ce1+hinton1"], folders["angle50+soft1"]
    for folder in (stored, heard):
        record = runs.read(folder)
        assert record.trained_by.views == "random" and record.trained_by.mixup == 0.4
        assert record.settings.features.view_names == ("clean", "noisy", "changed1", "changed2")
        assert "the same bit for bit" in command("rerun", str(folder.relative_to(tmp_path))).stdout
    teacher = next(path.parent for path in (tmp_path / "runs").rglob("result.json") if "teacher" in str(path))
    command("teacher-file", str(teacher.relative_to(tmp_path)), "-o", "teacher.npz")
    with np.load(tmp_path / "teacher.npz") as file:
        assert file["view"].tolist() == ["clean", "noisy", "changed1", "changed2"]
    (cached,) = (tmp_path / "cache").rglob("fold1.h5")
    with h5py.File(cached) as file:
        assert file["features"].shape[1] == 4
    before = set((tmp_path / "runs").rglob("result.json"))
    command("distill", "--losses", "ce,hinton", "--teacher", "teacher.npz", *HERE, *how)
    (by_file,) = set((tmp_path / "runs").rglob("result.json")) - before
    np.testing.assert_array_equal(runs.read_predictions(by_file.parent).logits, runs.read_predictions(stored).logits)
    refused = tiny.audio_rkd(tmp_path, "distill", "--losses", "angle,soft", "--teacher", "teacher.npz", *HERE, *how)
    assert refused.returncode == 1 and "terms on logits, or a run as teacher" in refused.stderr.strip().splitlines()[-1]
    told = command(
        "noise", str(stored.relative_to(tmp_path)), "--dataset", "urbansound8k", "--data", "clips", "--snr", "20,0"
    )
    assert "20 dB" in told.stdout and (tmp_path / "reports" / "clips" / "noise.csv").is_file()
