"""Commands that only look leave every file as it was, and folds that a corpus does not have are refused by every command."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline.corpus import folder as folder_corpus
from tests.recorded import write_run
from tests.tiny import audio_rkd, write_corpus

OWN = ("--dataset", "folder", "--data", "toy")
TABLE = ("--dataset", "csv", "--data", "clips.csv")


def write(root: Path) -> Path:
    """A folder of classes, a table of the same clips without folds, runs, and no ``folds.csv``."""
    write_corpus(root / "source", clips=4)
    lines = ["path,label"]
    for path in sorted((root / "source").rglob("*.wav")):
        label = ("low", "high")[int(path.name.split("-")[1])]
        (root / "toy" / label).mkdir(parents=True, exist_ok=True)
        shutil.move(path, root / "toy" / label / path.name)
        lines.append(f"toy/{label}/{path.name},{label}")
    shutil.rmtree(root / "source")
    (root / "clips.csv").write_text("\n".join(lines) + "\n")
    for fold in (1, 2):
        write_run(root, 6 + fold, fold=fold)
        write_run(root, 7 + fold, fold=fold, mix="angle:50,soft:1")
    return root


def state(root: Path) -> dict[str, tuple[int, bytes]]:
    """Every file with its time and content; the note of a check of contents is what such a check is for."""
    files = [path for path in root.rglob("*") if path.is_file() and path.name != "checks.json"]
    return {str(path.relative_to(root)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


@pytest.mark.slow
def test_looking_changes_nothing(tmp_path: Path) -> None:
    before = state(write(tmp_path))
    calls = [
        *(
            (name, *more, *which)
            for which in (OWN, TABLE)
            for name, *more in (
                ("status",),
                ("verify",),
                ("inspect",),
                ("retrieval",),
                ("experiment", "student", "--explain"),
            )
        ),
        ("distill", "--losses", "angle", "--explain", *OWN),
        ("search", "small", "--explain", *OWN),
        ("doctor",),
        ("runs",),
        ("compare", "soft", "angle:50"),
        ("check",),
        ("prune",),
        ("settings",),
        ("report", "--no-page", *OWN),
    ]
    for call in calls:
        done = audio_rkd(tmp_path, *call)
        assert "Traceback" not in done.stderr
        assert state(tmp_path) == before, call
    code = "from pipeline.corpus import folder as reader\n\n\ndef hall(place):\n    return reader.folder(place)\n"
    (tmp_path / "mine" / "corpus").mkdir(parents=True)
    (tmp_path / "mine" / "corpus" / "hall.py").write_text(code)
    (tmp_path / "rkd.toml").write_text('plugins = ["mine"]\n')
    before = state(tmp_path)
    done = audio_rkd(tmp_path, "status", "--dataset", "hall", "--data", "toy")
    assert done.returncode == 0 and "12 clips" in done.stdout, done.stderr
    assert {name for name in state(tmp_path) if "__pycache__" not in name} == before.keys()


def test_what_is_looked_at_has_the_folds_that_a_training_gives_it_and_a_removed_clip_leaves(tmp_path: Path) -> None:
    write(tmp_path)
    told = audio_rkd(tmp_path, "status", *OWN).stdout
    folder_corpus.folder(tmp_path / "toy")
    assert audio_rkd(tmp_path, "status", *OWN).stdout == told
    (first, *_) = sorted((tmp_path / "toy" / "low").glob("*.wav"))
    first.unlink()
    before = state(tmp_path)
    for name in ("status", "inspect", "verify"):
        done = audio_rkd(tmp_path, name, *OWN)
        assert "not there any more" in done.stdout + done.stderr or name == "status"
    assert "11 clips" in audio_rkd(tmp_path, "status", *OWN).stdout and state(tmp_path) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "call",
    [
        ("features", *OWN),
        ("inspect", *OWN),
        ("teacher", *OWN),
        ("distill", "--losses", "angle", *OWN),
        ("distill", "--losses", "angle", "--explain", *OWN),
        ("distill", "--losses", "angle", "--explain", "--dataset", "esc50"),
        ("distill", "--losses", "hinton", "--teacher-onnx", "model.onnx", *OWN),
        ("table3", *OWN),
        ("ban", *OWN),
        ("experiment", "student", *OWN),
        ("experiment", "student", "--explain", *OWN),
        ("experiment", "student", "--explain", "--dataset", "urbansound8k"),
        ("search", "small", *OWN),
        ("search", "small", "--explain", *OWN),
        ("runs",),
        ("runs", "--corpus", "tiny"),
    ],
    ids=" ".join,
)
def test_folds_that_there_are_not_are_refused(tmp_path: Path, call: tuple[str, ...]) -> None:
    write(tmp_path)
    (tmp_path / "model.onnx").touch()
    wanted = "1001" if call[0] == "inspect" else "1,2,1001"
    done = audio_rkd(tmp_path, *call, "--folds", wanted)
    *notes, last = done.stderr.splitlines()
    assert done.returncode == 1 and last.startswith("error: ") and "1001" in last and "2" in last.partition("1001")[2]
    assert not list(tmp_path.glob("cache/*/f*")) and not done.stdout, notes


@pytest.mark.parametrize("which", [OWN, TABLE])
@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (("--folds", "9"), "fold 9: "),
        (("--preset", "nowhere"), "nowhere"),
        (("--set", "features.bins=2"), "features.bins = 2"),
        (("--scheduler", "tcp://nowhere:1"), "only --backend dask has a scheduler"),
    ],
)
def test_features_that_are_refused_store_no_folds(
    which: tuple[str, ...], refused: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    before = state(write(tmp_path))
    done = audio_rkd(tmp_path, "features", *which, *refused)
    assert done.returncode == 1 and words in done.stderr and "clips put into folds" not in done.stderr
    assert state(tmp_path) == before


@pytest.mark.parametrize("which", [OWN, TABLE])
def test_features_that_are_refused_for_the_clips_store_no_folds(which: tuple[str, ...], tmp_path: Path) -> None:
    """The same bytes under two labels; a data set in place of another one, whose features are there."""
    write(tmp_path)
    small = ("features", *which, "--backend", "sequential", "--set", "features.use=mfcc")
    wrong = tmp_path / "toy" / "high" / "wrong.wav"
    shutil.copy(min((tmp_path / "toy" / "low").iterdir()), wrong)
    table = (tmp_path / "clips.csv").read_text()
    (tmp_path / "clips.csv").write_text(f"{table}toy/high/wrong.wav,high\n")
    before = state(tmp_path)
    done = audio_rkd(tmp_path, *small)
    assert done.returncode == 1 and "the same bytes under the labels" in done.stderr
    assert state(tmp_path) == before and "clips put into folds" not in done.stderr
    wrong.unlink()
    (tmp_path / "clips.csv").write_text(table)
    done = audio_rkd(tmp_path, *small)
    (folds,) = tmp_path.rglob("*folds.csv")
    assert done.returncode == 0 and "clips put into folds" in done.stderr
    folds.unlink()
    for path in sorted((tmp_path / "toy").rglob("*.wav")):
        path.rename(path.with_name(f"other-{path.name}"))
    (tmp_path / "clips.csv").write_text(table.replace("low/", "low/other-").replace("high/", "high/other-"))
    before = state(tmp_path)
    done = audio_rkd(tmp_path, *small)
    assert done.returncode == 1 and "is of another data set" in done.stderr
    assert state(tmp_path) == before and "clips put into folds" not in done.stderr
