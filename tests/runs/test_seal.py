"""The files of a run are whole and belong together: what is damaged, exchanged or lost is one line, and copies serve."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline import runs
from pipeline.config import InputError
from pipeline.models.saved import weights_digest
from pipeline.report import listing
from pipeline.runs import seal
from pipeline.runs.folder import lost_epochs
from pipeline.runs.weights import damaged_files, read_weights
from tests.tiny import invoke

IDENTITY = "tiny student fold{}-seed0 soft:1 {}"


def written(root: Path, fold: int, *, identity: bool = True) -> Path:
    """A finished run with five epochs; without an identity as earlier versions wrote it."""
    folder = root / "runs" / "tiny" / f"fold{fold}-seed0"
    name = IDENTITY.format(fold, "abcd") if identity else ""
    about = {"role": "student", "model": "cnn2", "fold": fold, "seed": 0, "mix": "soft:1"}
    about |= {"corpus": "tiny", "dataset": "folder", "synthetic": False}
    config = {
        **about,
        "schema": 1,
        "preset": "default",
        "data": {"1": "x", "2": "y"},
        "skipped": {},
        "all_folds": [1, 2],
    }
    config |= {"settings": {table: {} for table in ("features", "teacher", "student")}, "classes": ["a", "b"]}
    state = {"weight": torch.arange(4000.0) + fold}
    payload = {**about, "format": 1, "shape": [1, 4, 4], "classes": ["a", "b"], "features": {}}
    payload |= {"state": state, "best_state": state, **({"identity": name} if identity else {})}
    clips = np.array(["x.wav", "y.wav"])
    result = {"accuracy": 0.5, "best_accuracy": 0.5, "best_epoch": 1, "epochs": 5, "test_clips": 2, "parameters": 1}
    runs.restart_metrics(folder, [{"epoch": k, "loss": 1 / k} for k in range(1, 6)], name)
    runs.write_finished(
        folder,
        config={**config, **({"identity": name} if identity else {})},
        environment={"python": "3.11", "packages": {}, "time": fold},
        model_bytes=lambda file: torch.save(payload, file),
        predictions=runs.Predictions(clips, np.arange(2), np.eye(2) + fold, clips),
        result={**result, "status": "trained", "weights": weights_digest(payload)},
    )
    return folder


#: File → what reads it.
READERS = {
    "config.json": runs.read,
    "environment.json": runs.read_environment,
    "metrics.jsonl": runs.read_metrics,
    "model.pt": read_weights,
    "predictions.npz": runs.read_predictions,
    "result.json": runs.read,
}


def refused(name: str, folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        READERS[name](folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_whole_is_read_also_copied_and_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seal, "unchecked", {})  # whatever other tests have read
    folder = written(tmp_path, 1)
    copy = shutil.copytree(folder, tmp_path / "my best run")
    for place in (folder, copy):
        for read in READERS.values():
            read(place)
        assert not damaged_files(place) and lost_epochs(place, 5) == []
    assert runs.read(copy).identity == IDENTITY.format(1, "abcd") and not seal.told()
    assert [line["epoch"] for line in runs.read_metrics(copy)] == [1, 2, 3, 4, 5]
    assert set(runs.read_metrics(copy)[0]) == {"epoch", "loss"}  # the identity is the reader's affair


@pytest.mark.parametrize("name", READERS)
def test_any_flipped_bit_is_noticed(tmp_path: Path, name: str) -> None:
    """One bit at a time, all over the file; where a file is text the text would mostly still be read."""
    folder = written(tmp_path, 1)
    path = folder / name
    whole = path.read_bytes()
    same = READERS[name](folder)
    for turn, place in enumerate(range(0, len(whole), max(1, len(whole) // 40))):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << turn % 8]) + whole[place + 1 :])
        try:
            values = READERS[name](folder)
        except InputError as error:
            assert "\n" not in str(error)
            continue
        # A space that is another; the end of the last line, which is lost then.
        assert (name == "result.json" and values == same) or (name == "metrics.jsonl" and values == same[:-1])


@pytest.mark.parametrize("name", READERS)
def test_a_file_of_another_run_is_named_with_both_identities(tmp_path: Path, name: str) -> None:
    folder, other = written(tmp_path, 1), written(tmp_path, 2)
    shutil.copy(other / name, folder / name)
    text = refused(name, folder)
    if name == "environment.json":  # which says nothing of a run
        assert "not the environment.json that result.json names" in text
    else:
        assert IDENTITY.format(1, "abcd") in text and IDENTITY.format(2, "abcd") in text
    assert name not in ("model.pt", "predictions.npz") or "of another run" in damaged_files(folder)


def test_lost_lines_of_metrics_are_lost_and_no_damage(tmp_path: Path) -> None:
    folder = written(tmp_path, 1)
    path = folder / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[3])
    assert [line["epoch"] for line in runs.read_metrics(folder)] == [1, 4] and lost_epochs(folder, 5) == [2, 3, 5]
    path.write_bytes(b"".join(lines)[:-3])
    assert lost_epochs(folder, 5) == [5]
    path.write_bytes(lines[1] + lines[0])
    assert "in the order of the epochs" in refused("metrics.jsonl", folder)
    path.write_bytes(lines[0] + lines[0])
    (folder / "calibration.json").write_text("{}")
    assert f"remove the folder {folder}" in refused("metrics.jsonl", folder)
    (folder / "result.json").unlink()  # of an unfinished run nothing says which lines there were
    assert "in the order of the epochs" in refused("metrics.jsonl", folder)
    path.write_bytes(lines[0] + lines[3])
    assert [line["epoch"] for line in runs.read_metrics(folder)] == [1, 4]
    path.unlink()
    assert lost_epochs(folder, 5) == [1, 2, 3, 4, 5]


def test_runs_of_before_identities_serve_with_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, other = written(tmp_path, 1, identity=False), written(tmp_path, 2, identity=False)
    assert "identity" not in json.loads((folder / "result.json").read_text())
    seal.told()
    for read in READERS.values():
        read(folder), read(other)
    assert "2 runs" in (line := seal.told()) and "made before identities; not checked" in line and not seal.told()
    monkeypatch.chdir(tmp_path)
    done = invoke("check")
    assert done.exit_code == 0 and "2 made before identities" in done.stdout
    assert done.stderr.count("\n") == 1 and "made before identities; not checked" in done.stderr
    # Their weights have a digest all the same, and say which run they are of.
    shutil.copy(other / "model.pt", folder / "model.pt")
    assert "of another run" in refused("model.pt", folder) and "fold 2" in refused("model.pt", folder)
    content = bytearray((other / "model.pt").read_bytes())
    content[len(content) // 2] ^= 8
    (other / "model.pt").write_bytes(content)
    assert "another checksum" in refused("model.pt", other) and "another checksum" in damaged_files(other)


def test_a_run_with_identity_takes_no_file_of_one_without(tmp_path: Path) -> None:
    folder, old = written(tmp_path, 1), written(tmp_path / "old", 1, identity=False)
    for name in ("config.json", "model.pt", "predictions.npz", "result.json"):
        kept = (folder / name).read_bytes()
        shutil.copy(old / name, folder / name)
        assert "made before identities" in refused(name, folder)
        (folder / name).write_bytes(kept)


def test_check_names_every_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder, other = written(tmp_path, 1), written(tmp_path, 2)
    assert invoke("check").exit_code == 0
    (folder / "model.pt").unlink()
    (other / "metrics.jsonl").write_bytes((other / "metrics.jsonl").read_bytes().splitlines(keepends=True)[0])
    (folder / ".result.json.999999999.tmp").write_bytes(b"half")
    done = invoke("check", "runs", "--json")
    assert done.exit_code == 1
    findings = {Path(finding["path"]).name: finding for finding in json.loads(done.stdout)["findings"]}
    assert findings.keys() == {"model.pt", "metrics.jsonl", ".result.json.999999999.tmp"}
    assert "4 of 5 epochs are lost" in findings["metrics.jsonl"]["problem"]
    assert all(finding["remedy"] for finding in findings.values())
    assert json.loads(invoke("check", str(other / "config.json"), "--json").stdout)["checked"] == {"runs": 1}
    for nothing in ("elsewhere", "."):
        assert invoke("check", nothing if nothing == "elsewhere" else str(tmp_path / "empty")).exit_code == 1


def test_check_does_not_look_into_what_was_left_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("cnn2-soft1-fold1-seed0.999999999.tmp", "cnn2-soft1-fold1-seed0.999999999.old"):
        place = tmp_path / "exports" / "tiny" / f".{name}"
        place.mkdir(parents=True)
        (place / "model.onnx").write_bytes(b"half")
    done = invoke("check")
    findings = done.stdout.splitlines()[:-1]
    assert done.exit_code == 1 and len(findings) == 2 and all("rm -r 'exports/tiny/.cnn2" in line for line in findings)


def test_notes_of_experiments_are_compared_with_their_digests_and_folders(tmp_path: Path) -> None:
    from pipeline.runs import experiments

    for name in ("one", "two"):
        experiments.note_rows(tmp_path, "tiny", name, {f"row {name}": [tmp_path / name]})
        experiments.note_weight(tmp_path, "tiny", name, "key", "hint", 2.5)
    folders = [experiments.place(tmp_path, "tiny", name) for name in ("one", "two")]
    assert [row.name for row in experiments.noted_rows(tmp_path, "tiny")] == ["row one", "row two"]
    assert experiments.noted_weight(tmp_path, "tiny", "one", "key") == 2.5
    for name, read in (
        (experiments.NOTE, lambda: experiments.noted_rows(tmp_path, "tiny", "one")),
        (experiments.WEIGHTS, lambda: experiments.noted_weight(tmp_path, "tiny", "one", "key")),
    ):
        path, content = folders[0] / name, (folders[0] / name).read_bytes()
        changed = content.replace(b"row one", b"row ohe").replace(b"2.5", b"2.4")
        for damaged, words in (
            (changed, "it does not say what was written"),
            ((folders[1] / name).read_bytes(), "of the experiment two, and its folder is of one"),
            (b"[]", "expected an object"),
        ):
            path.write_bytes(damaged)
            with pytest.raises(InputError, match=words):
                read()
        values = json.loads(content)  # as earlier versions wrote it
        path.write_text(json.dumps({key: value for key, value in values.items() if key != "content"}))
        read()
        path.write_bytes(content)


def test_what_stands_beside_a_figure_is_spared_and_told_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder, other = written(tmp_path, 1), written(tmp_path, 2)
    content = (folder / "result.json").read_bytes()
    (folder / "result.json").write_bytes(content.replace(b'"accuracy": 0.5', b'"accuracy": 0.7'))
    done = invoke("runs")
    assert done.exit_code == 1 and str(other.relative_to(tmp_path)) in done.stdout and "1 run" in done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith(
        f"error: {folder.relative_to(tmp_path)}/result.json: damaged (it does not say what was written"
    )
    assert (
        invoke("report", "--no-page").exit_code == 1 and not (tmp_path / "reports").exists()
    )  # a figure is of all its runs
    with monkeypatch.context() as patch:  # another error does not hide what was met before

        def unlucky(*_: object) -> str:
            raise InputError("no luck")

        patch.setattr(listing, "listing_text", unlucky)
        assert [text[:12] for text in invoke("runs").stderr.splitlines()] == [line[:12], "error: no lu"]
    (folder / "result.json").write_bytes(content)
    assert invoke("runs").exit_code == 0
    (folder / "environment.json").write_text("{}")
    done = invoke("report", "--no-page")
    assert done.exit_code == 1 and "environment.json is damaged" in done.stdout
    assert (tmp_path / "reports" / "tiny" / "table.md").is_file() and done.stderr.count("error: ") == 1
