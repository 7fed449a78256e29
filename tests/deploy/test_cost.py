"""``cost``: counts against counts by hand, and a table whose figures agree with each other and with the files."""

import csv
import dataclasses
import io
import json
import shutil
import sys
import types
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from pipeline import models, runs
from pipeline.commands import cost as command
from pipeline.config import InputError
from pipeline.deploy import cost, export, latency
from pipeline.extras import install_line
from pipeline.report.paper import PARAMETERS
from pipeline.report.table import text
from tests import shipped
from tests.shipped import SPEC


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Runs of one mix in both folds (90 % and 80 %), of a worse mix, and a teacher (70 %)."""
    root = tmp_path_factory.mktemp("world")
    paths = shipped.write_corpus(root)
    student = shipped.write_run(root, paths, accuracy=0.9)
    shipped.write_run(root, paths, fold=2, accuracy=0.8)
    for fold in (1, 2):
        shipped.write_run(root, paths, fold=fold, mix="ce:2", accuracy=0.6)
    teacher = shipped.write_run(root, paths, "teacher", accuracy=0.7)
    return types.SimpleNamespace(root=root, paths=paths, student=student, teacher=teacher)


def measured(root, run=None, **options):
    return cost.measured(run, root / "runs", root / "exports", shipped.CORPUS, repeats=10, **options)


def test_multiply_adds_of_the_student_by_hand():
    network = models.network("cnn2", (5, 20, 173), 10)
    # 3 × 3 convolutions on 20 × 173 and, after the pooling, 10 × 86; then 3,440 → 32 → 10.
    by_hand = 20 * 173 * 32 * 5 * 9 + 10 * 86 * 16 * 32 * 9 + 3440 * 32 + 32 * 10
    assert latency.multiply_adds(network) == by_hand == 9_055_680
    assert latency.multiply_adds(network) == by_hand  # no hook is left behind to count twice
    assert not any(layer._forward_hooks for layer in network.modules())
    assert models.parameters(network) == PARAMETERS["cnn2"]


def test_multiply_adds_of_the_teacher_by_hand():
    total, inputs, height, width = 20 * 173 * 8 * 5 * 9, 8, 20, 173
    for stage, outputs in enumerate((8, 16, 32, 64)):
        if stage:
            height, width = (height + 1) // 2, (width + 1) // 2
            total += height * width * outputs * inputs  # 1 × 1 on the shortcut
        total += height * width * outputs * 9 * (inputs + 3 * outputs)  # four 3 × 3
        inputs = outputs
    network = models.network("resnet18", (5, 20, 173), 10)
    assert latency.multiply_adds(network) == total + 256 * 10
    assert models.parameters(network) == PARAMETERS["resnet18"]


def test_the_table_agrees_with_itself_and_with_the_files(world):
    before = torch.get_num_threads()
    costs = measured(world.root, batch=3, threads=2)
    assert torch.get_num_threads() == before
    teacher, student = costs.rows
    assert (teacher.name, student.name) == ("teacher resnet18, torch", "student cnn2, torch")
    assert student.accuracy == pytest.approx(85) and student.measured_on == "2 runs, 2 of 2 folds"
    assert teacher.accuracy == pytest.approx(70) and teacher.measured_on == "1 run, 1 of 2 folds"
    for row, folder in ((teacher, world.teacher), (student, world.student)):
        assert row.bytes == (folder / "model.pt").stat().st_size
        assert row.published == PARAMETERS[row.name.split()[1].rstrip(",")]
        assert 0 < row.median_ms <= row.p90_ms
        clip_ms = costs.feature_median_ms + row.median_ms / 3
        assert row.real_time_factor == pytest.approx(clip_ms / 1000 / SPEC.seconds)
        assert row.feature_share == pytest.approx(costs.feature_median_ms / clip_ms)
    assert student.parameters == 5 * 32 * 9 + 32 + 32 * 16 * 9 + 16 + 16 * 5 * 5 * 32 + 32 + 32 * 3 + 3


def test_a_trusted_teacher_is_said_below_the_table(world, tmp_path):
    for name in ("cache", "runs"):
        shutil.copytree(world.root / name, tmp_path / name)
    student = tmp_path / world.student.relative_to(world.root)
    assert "--trust-teacher" not in text(cost.document(measured(tmp_path, student)))
    about = json.loads((student / "config.json").read_text())
    (student / "config.json").write_text(json.dumps({**about, "trusted": True}))
    assert "does not say which folds it was trained on" in text(cost.document(measured(tmp_path, student)))


def test_exported_forms_have_rows_while_they_are_of_this_run(world, tmp_path, monkeypatch):
    for name in ("cache", "runs"):
        shutil.copytree(world.root / name, tmp_path / name)
    student = tmp_path / world.student.relative_to(world.root)
    folder, proof = export.export(student, tmp_path / "cache", tmp_path / "exports")
    rows = {row.name: row for row in measured(tmp_path, student).rows}
    assert list(rows) == [
        "teacher resnet18, torch",
        "student cnn2, torch",
        "student cnn2, ONNX",
        "student cnn2, ONNX int8",
    ]
    int8 = rows["student cnn2, ONNX int8"]
    assert int8.bytes == (folder / "model.int8.onnx").stat().st_size < rows["student cnn2, ONNX"].bytes
    assert "not where weights alone are integers" in text(cost.document(measured(tmp_path, student)))
    assert int8.accuracy == pytest.approx(100 * proof["accuracy_int8"]) and int8.measured_on == "fold 1 alone"
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "onnxruntime", None)
        without = measured(tmp_path, student)
    # What needs no extra is measured all the same, and what is left out is said, with the line that installs it.
    assert [row.name for row in without.rows] == ["teacher resnet18, torch", "student cnn2, torch"]
    (line,) = without.left_out
    assert line.startswith("Left out: ONNX and int8") and line.endswith(install_line("export"))
    assert measured(tmp_path, student).left_out == ()
    # Trained again: the export is of another model.pt now.
    shipped.write_run(tmp_path, world.paths, seed=0)
    payload = torch.load(student / "model.pt", weights_only=True)
    payload["state"]["linear2.bias"] += 1
    torch.save(payload, student / "model.pt")
    assert len(measured(tmp_path, student).rows) == 2


def test_what_has_no_row_is_said_with_the_command_that_gives_it_one(world):
    costs = measured(world.root, world.student)
    assert costs.left_out == (
        f"Left out: student cnn2 in ONNX and int8, for this run is not in {world.root / 'exports'}/: "
        f"make export RUN={world.student}",
    )
    assert costs.left_out[0] in text(cost.document(costs))
    assert "measured in one form alone (student cnn2, torch)" in cost.verdict(costs)
    assert "fastest" not in cost.verdict(costs)


def test_the_teacher_is_found_from_another_working_directory(world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    costs = cost.measured(world.student, Path("runs"), Path("exports"), "", repeats=10)
    assert [row.name for row in costs.rows] == ["teacher resnet18, torch", "student cnn2, torch"]
    # A run that was copied out of its place has neither teacher nor siblings, which is said.
    shutil.copytree(world.student, tmp_path / "alone")
    costs = cost.measured(tmp_path / "alone", Path("runs"), Path("exports"), "", repeats=10)
    assert [row.name for row in costs.rows] == ["student cnn2, torch"] and "a teacher" in costs.left_out[-1]


def born_again(root, run, generation, lineage):
    """A copy of a student's run as one of a chain has it."""
    folder = root / "runs" / shipped.CORPUS / "ban-cnn2" / "ce1" / f"gen{generation}" / run.name
    shutil.copytree(run, folder)
    about = json.loads((folder / "config.json").read_text())
    about |= {"role": "generation", "generation": generation, "lineage": list(map(str, lineage))}
    (folder / "config.json").write_text(json.dumps(about))
    return folder


def test_a_born_again_run_is_measured_beside_its_first_teacher(world, tmp_path):
    for name in ("cache", "runs"):
        shutil.copytree(world.root / name, tmp_path / name)
    first = world.teacher.relative_to(world.root)
    one = born_again(tmp_path, world.student, 1, [first])
    two = born_again(tmp_path, world.student, 2, [first, one.relative_to(tmp_path)])
    costs = measured(tmp_path, two)
    assert [row.name for row in costs.rows] == ["teacher resnet18, torch", "generation 2 cnn2, torch"]
    assert costs.rows[1].measured_on == "1 run, 1 of 2 folds"  # not generation 1, and no student's
    # Each generation has an export of its own, which no other replaces.
    folders = [export.export(run, tmp_path / "cache", tmp_path / "exports")[0] for run in (one, two)]
    student = tmp_path / world.student.relative_to(world.root)
    folders.append(export.export(student, tmp_path / "cache", tmp_path / "exports")[0])
    assert len(set(folders)) == 3 and all((folder / "proof.json").is_file() for folder in folders)
    assert [json.loads((f / "proof.json").read_text())["generation"] for f in folders] == [1, 2, 0]
    names = ["generation 2 cnn2, torch", "generation 2 cnn2, ONNX", "generation 2 cnn2, ONNX int8"]
    costs = measured(tmp_path, two)
    assert [row.name for row in costs.rows][1:] == names and cost.verdict(costs).count("generation 2 cnn2") == 1


def test_a_teacher_of_other_features_has_their_time(world, tmp_path, monkeypatch):
    for name in ("cache", "runs"):
        shutil.copytree(world.root / name, tmp_path / name)
    teacher, student = (tmp_path / one.relative_to(world.root) for one in (world.teacher, world.student))
    about = json.loads((student / "config.json").read_text())
    several = [str(teacher), str(teacher.with_name("fold1-seed1"))]
    step = {"role": "step", "experiment": "student", "step": "student-ce1", "teacher": several}
    (student / "config.json").write_text(json.dumps(about | step))
    monkeypatch.setattr(latency, "feature_times", lambda spec, repeats: (1000 * spec.floor + 1, 0.0))
    alike = measured(tmp_path, student)
    assert [row.feature_ms for row in alike.rows] == [1, 1]
    assert alike.left_out[-1] == "Left out: 1 teacher more that taught it together with this one."
    payload = torch.load(teacher / "model.pt", weights_only=True)
    torch.save(payload | {"features": payload["features"] | {"floor": 0.5}}, teacher / "model.pt")
    costs = measured(tmp_path, student)
    assert [row.feature_ms for row in costs.rows] == [501, 1] and costs.feature_median_ms == 1
    assert costs.rows[0].real_time_factor == pytest.approx((501 + costs.rows[0].median_ms) / 1000 / costs.clip_seconds)
    assert costs.left_out[-1] == "The teacher hears other features: librosa's five of a clip take 501.00 ms."


def test_the_verdict_names_who_takes_the_time(world):
    row = measured(world.root).rows[-1]
    common = (1.0, 0.5, 1, 1, 10, "processor", "tiny", False)
    for feature_ms, network_ms, words in (
        (9.0, 1.0, "The features are what"),
        (1.0, 4.0, "The network is what"),
    ):
        share = feature_ms / (feature_ms + network_ms)
        one = cost.dataclasses.replace(row, median_ms=network_ms, feature_share=share)
        line = cost.verdict(cost.Cost((one,), feature_ms, *common))
        assert line.startswith(words) and f"({100 * share:.1f} %)" in line
        assert f"{feature_ms + network_ms:.2f} ms the features" in line


def test_the_command_writes_what_it_prints(world, tmp_path, monkeypatch):
    (tmp_path / "runs").symlink_to(world.root / "runs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "corpus_name", lambda *_: "tiny")
    result = CliRunner().invoke(command.cost, ["--repeats", "10", "--batch", "2"], catch_exceptions=False)
    assert result.exit_code == 0
    assert "batch of 2 clips, 1 thread, 10 calls" in result.output and "116,538" in result.output
    assert "what a device pays for" in result.output
    stored = json.loads((tmp_path / "reports/tiny/cost.json").read_text())
    rows = list(csv.DictReader(io.StringIO((tmp_path / "reports/tiny/cost.csv").read_text())))
    assert [row["name"] for row in rows] == [row["name"] for row in stored["rows"]]
    assert rows[1]["multiply_adds"] == str(stored["rows"][1]["multiply_adds"]) and rows[0]["threads"] == "1"
    assert stored["verdict"] in result.output
    assert "| student cnn2, torch |" in (tmp_path / "reports/tiny/cost.md").read_text()


def test_made_up_sounds_are_stamped(tmp_path):
    paths = shipped.write_corpus(tmp_path)
    shipped.write_run(tmp_path, paths, synthetic=True)
    text = cost.report(measured(tmp_path), tmp_path / "reports")
    assert text.startswith("SYNTHETIC Cost of a clip: tiny") and "say nothing about real ones" in text


def test_wrong_runs_have_their_line(world, tmp_path):
    with pytest.raises(InputError, match="is a teacher's run; expected a student's"):
        measured(world.root, world.teacher)
    with pytest.raises(InputError, match="gone: no such file or folder; expected a run folder"):
        measured(world.root, tmp_path / "gone")
    with pytest.raises(InputError, match="no student with an accuracy"):
        measured(tmp_path)
    shutil.copytree(world.student, tmp_path / "half")
    (tmp_path / "half" / "result.json").unlink()
    with pytest.raises(InputError, match=r"result\.json: no such file"):
        measured(world.root, tmp_path / "half")
    # A copied model.pt in a folder that is nobody's run: the remedy never tells to remove that folder.
    (tmp_path / "Downloads").mkdir()
    shutil.copy(world.student / "model.pt", tmp_path / "Downloads" / "model.pt")
    with pytest.raises(
        InputError, match="alone is enough for predict only: expected the folder of a finished run"
    ) as refusal:
        measured(world.root, tmp_path / "Downloads" / "model.pt")
    assert "remove" not in str(refusal.value)
    moved = tmp_path / "moved"
    shutil.copytree(world.student, moved)
    assert runs.read_result(moved)["accuracy"] == 0.9
    assert measured(world.root, moved / "model.pt").rows[-1].name == "student cnn2, torch"


@pytest.mark.slow
def test_one_file_from_sound_to_class_has_a_row(tmp_path):
    """Its time holds the features; the verdict is of the forms whose features are Python's."""
    spec = dataclasses.replace(SPEC, tuning=0.0, floor=1e-5)
    paths = shipped.write_corpus(tmp_path, spec)
    student = shipped.write_run(tmp_path, paths, accuracy=0.9)
    data = tmp_path / "data" / "fold1"
    folder, _ = export.export(student, tmp_path / "cache", tmp_path / "exports", data=data)
    costs = measured(tmp_path, student, batch=2)
    row = costs.rows[-1]
    assert row.name == "student cnn2, one file" and row.file == "student-sound.onnx"
    assert row.bytes == (folder / "student-sound.onnx").stat().st_size
    assert row.feature_ms is None and row.feature_share is None and row.accuracy is None
    assert row.measured_on == "fold 1: same class as predict on 100.0 % of 9 clips"
    others = [each for each in costs.rows[:-1] if each.name.startswith("student")]
    assert row.median_ms > max(each.median_ms for each in others)
    assert row.real_time_factor == pytest.approx(row.median_ms / 2 / 1000 / spec.seconds)
    assert "one file" not in cost.verdict(costs) and "the features take" in cost.verdict(costs)
    shown = text(cost.document(costs))
    (line,) = [line for line in shown.splitlines() if "student cnn2, one file" in line]
    assert "–" in line and "One file: from sound to class without Python" in shown
