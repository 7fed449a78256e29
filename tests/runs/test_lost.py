"""Files of runs and experiments that are gone: no command passes over them in silence, and none blames a training under way."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

import cli
from pipeline import cache, locks, runs
from pipeline.config import InputError
from pipeline.report import check
from pipeline.runs import damage, experiments, lost, refusal
from pipeline.training import checkpoint
from tests.recorded import write_run

TOLD = "result.json: no such file, and model.pt is there (it was lost, or training was stopped); it counts as unfinished until"


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Runs of two folds and two mixes in the working folder."""
    monkeypatch.chdir(tmp_path)
    damage.told()
    hits = {("soft:1", 1): 6, ("soft:1", 2): 7, ("angle:50,soft:1", 1): 8, ("angle:50,soft:1", 2): 9}
    return [write_run(Path(), number, fold=fold, mix=mix) for (mix, fold), number in hits.items()]


def said(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli.main, arguments, prog_name="audio-rkd")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("report", "--no-page"),
        ("runs",),
        ("compare", "soft", "angle:50"),
        ("check",),
    ],
    ids=lambda arguments: arguments[0],
)
def test_every_command_that_counts_runs_names_the_one_whose_result_is_gone(
    folders: list[Path], arguments: tuple[str, ...]
) -> None:
    before, text = said(*arguments)
    assert "result.json: no such file" not in text
    (folders[-1] / "result.json").unlink()
    code, text = said(*arguments)
    assert code == 1 and f"{folders[-1]}/{TOLD}" in text
    write_run(Path(), 9, fold=2, mix="angle:50,soft:1")
    assert said(*arguments)[0] == before


def test_the_table_is_made_and_says_whom_it_lacks(folders: list[Path]) -> None:
    (folders[-1] / "result.json").unlink()
    code, text = said("report", "--no-page")
    assert code == 1 and "Unfinished, not in the table: 1 run" in text and Path("reports/tiny/table.csv").is_file()


@pytest.mark.parametrize("kept", ["model.pt", "predictions.npz"])
def test_a_training_that_writes_just_now_has_lost_nothing(folders: list[Path], kept: str) -> None:
    folder = folders[0]
    for name in {"model.pt", "predictions.npz", "result.json"} - {kept}:
        (folder / name).unlink()
    assert f"and {kept} is there" in lost.file_of_run(folder, ["config.json", kept])
    for place in (
        folder.parent / "training",
        folder.parents[1] / "training",
        folder,
    ):  # a pack's, a stage's, a repetition's
        with locks.locked(place, "here"):
            assert lost.file_of_run(folder, ["config.json", kept]) == ""
    runs.write_atomic(folder / "result.json", b"{}")  # it ended between the look into the folder and that at its lock
    assert lost.file_of_run(folder, ["config.json", kept]) == ""


def test_a_training_that_was_stopped_has_lost_nothing(folders: list[Path]) -> None:
    for name in ("model.pt", "predictions.npz", "result.json"):
        (folders[0] / name).unlink()
    runs.append_metrics(folders[0], {"epoch": 1})
    (folders[1].parent / "fold9-seed0").mkdir()
    assert len(runs.find(Path("runs"))) == 3 and damage.told() == []
    code, text = said("runs")
    assert code == 0 and "unfinished" in text


@pytest.mark.parametrize("left", ["environment.json", "metrics.jsonl", "model.pt"])
def test_an_unfinished_run_without_its_configuration_is_named(folders: list[Path], left: str) -> None:
    folder = folders[0]
    runs.append_metrics(folder, {"epoch": 1})
    for name in {path.name for path in folder.iterdir()} - {left}:
        (folder / name).unlink()
    for arguments in (("runs",), ("report", "--no-page"), ("check",)):
        code, text = said(*arguments)
        assert code == 1 and f"{folder}/config.json: no such file, and {left} is there (it was lost);" in text, (
            arguments
        )


def step(experiment: str, like: Path, **more: object) -> Path:
    """A finished run of an experiment's step."""
    folder = Path("runs/tiny") / f"experiment-{experiment}" / "second-cnn2" / like.name
    shutil.copytree(like, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps({**config, "role": "step", "experiment": experiment, "step": "second", **more})
    )
    return folder


def test_an_experiment_whose_note_is_gone_is_named(folders: list[Path]) -> None:
    folder = step("whole", folders[0])
    experiments.note_rows(Path("runs"), "tiny", "whole", {"second": [folder.parent]})
    note = Path("runs/tiny/experiment-whole/experiment.json")
    for arguments in (("report", "--no-page"), ("check",)):
        assert str(note) not in said(*arguments)[1], arguments
    note.unlink()
    for arguments in (("report", "--no-page"), ("check",)):
        code, text = said(*arguments)
        assert code == 1 and f"{note}: no such file, and finished runs are beside it" in text, arguments
    for home in (folder.parents[1], folders[0].parents[1]):  # its next step may train among the students
        with locks.locked(home / "training", "here"):
            assert experiments.lost_note(runs.read(folder)) == ""


def test_what_has_no_note_at_all_lacks_none(folders: list[Path]) -> None:
    """The runs that a temperature is fitted on are in no report."""
    step("calibration", folders[0], without=2)
    for arguments in (("report", "--no-page"), ("check",)):
        assert "experiment.json" not in said(*arguments)[1], arguments


def test_what_was_met_before_is_no_error_of_a_later_command(folders: list[Path]) -> None:
    damage.met["runs/x: damaged"] = None
    assert said("runs")[0] == 0


def test_a_run_is_a_finding_once(folders: list[Path]) -> None:
    (folders[0] / "result.json").unlink()
    (finding,) = check.check([folders[0]]).findings
    assert finding.path == str(folders[0] / "result.json") and finding.remedy.startswith("it counts as unfinished")


def test_exchanged_folds_are_named_where_their_digests_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.cache import reading

    class Header:
        fold, digest = 2, "x"

    monkeypatch.setattr(reading, "read_header", lambda path: Header())
    with pytest.raises(InputError, match=r"fold1\.h5 holds fold 2, not fold 1"):
        cache.read_digests({1: tmp_path / "fold1.h5"})
    assert cache.read_digests({2: tmp_path / "fold2.h5"}) == {2: "x"}


def test_a_checkpoint_without_its_note_an_archive_and_a_threshold_that_is_gone_are_findings(
    folders: list[Path],
) -> None:
    assert said("archive", *map(str, folders), "-o", "all.rkd.zip")[0] == 0
    assert said("check", "all.rkd.zip")[0] == 0
    content = bytearray(Path("all.rkd.zip").read_bytes())
    content[len(content) // 2] ^= 4
    Path("runs/damaged.rkd.zip").write_bytes(content)
    beside = folders[0].parents[1] / ".checkpoints"
    checkpoint.write(beside / "pack-1.pt", {}, "of")
    code, text = said("check")
    assert code == 1 and f"{beside}/pack-1.json: no such file, and pack-1.pt is there (it was lost)" in text
    assert "runs/damaged.rkd.zip: no whole archive of runs" in text
    with locks.locked(beside.parent / "training", "here"):
        assert "pack-1.json" not in said("check", "runs")[1]
    for name in (beside / "pack-1.pt", Path("runs/damaged.rkd.zip")):
        name.unlink()
    lacking = write_run(Path(), 9, fold=0, status="all folds")
    assert "refusal.json: no such file" in refusal.lost_in(lacking)
    config = (lacking / "config.json").read_text()
    (lacking / "config.json").write_text(config.replace('"role": "student"', '"role": "teacher"'))
    assert refusal.lost_in(lacking) == ""
    (lacking / "config.json").write_text(config)
    code, text = said("check")
    assert code == 1 and f"{lacking}/refusal.json: no such file" in text and "pack-1" not in text
    with locks.locked(lacking.parent / "training", "here"):
        assert refusal.lost_in(lacking) == ""
