"""``export``: the same function in ONNX, the proof, whole folders, and the example that does without torch."""

import dataclasses
import errno
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from click.testing import CliRunner
from onnx import numpy_helper

from pipeline import (
    cache,
    extras,
    models,
    runs,
)
from pipeline.commands import chosen as choosing
from pipeline.commands import export as command
from pipeline.config import InputError
from pipeline.deploy import export, int8
from pipeline.deploy.graph import graph
from pipeline.figures import evaluation
from pipeline.runs import calibration
from tests import recorded, shipped
from tests.shipped import CLASSES, SPEC

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "onnx_student.py"
FILES = ["features.json", "labels.json", "model.int8.onnx", "model.onnx", "proof.json"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    paths = shipped.write_corpus(root)
    return types.SimpleNamespace(
        root=root,
        paths=paths,
        student=shipped.write_run(root, paths, accuracy=0.9),
        teacher=shipped.write_run(root, paths, "teacher"),
    )


@pytest.fixture(scope="module")
def exported(world):
    """Folder and proof of the student's export."""
    return export.export(world.student, world.root / "cache", world.root / "exports")


def held_out(world):
    fold = cache.read_fold(world.paths[0])
    return fold.features[:, 0], np.array(fold.header.labels)


def run_onnx(path, values):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"features": values})[0]


@pytest.mark.parametrize(
    ("name", "shape"), [("cnn2", (5, 20, 173)), ("resnet18", (5, 20, 173)), ("resnet18", (5, 12, 61))]
)
def test_the_graph_is_the_network(name, shape, tmp_path):
    network = models.network(name, shape, 7).eval()
    generator = torch.Generator().manual_seed(0)
    network.mean.normal_(generator=generator).mul_(100)
    network.std.uniform_(0.5, 50, generator=generator)
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.3, generator=generator)
            layer.running_var.uniform_(0.5, 2, generator=generator)
    path = tmp_path / "model.onnx"
    onnx.save(graph(network), path)
    for batch in (1, 2, 7):
        values = torch.randn(batch, *shape, generator=generator) * network.std + network.mean
        with torch.inference_mode():
            expected = network(values).logits.numpy()
        np.testing.assert_allclose(run_onnx(path, values.numpy()), expected, atol=2e-5)
    # Nothing of the runs axis stands between the operators: onnxruntime can fuse them, and quantise them together.
    onnx_graph = onnx.load(path).graph
    reader = {name: node.op_type for node in onnx_graph.node for name in node.input}
    after = {reader[node.output[0]] for node in onnx_graph.node if node.op_type == "Conv"}
    assert after <= {"MaxPool", "Relu", "Add", "BatchNormalization"}


def test_what_is_written(world, exported):
    folder, _ = exported
    digest = runs.settings_digest("student", runs.read_config(world.student)["settings"])
    assert folder == world.root / "exports" / "tiny" / f"cnn2-ce1-{digest}-fold1-seed0"
    assert sorted(path.name for path in folder.parent.iterdir()) == [folder.name]
    assert sorted(path.name for path in folder.iterdir()) == FILES
    labels = json.loads((folder / "labels.json").read_text())
    assert labels == {"classes": list(CLASSES), "corpus": "tiny", "synthetic": False}
    described = json.loads((folder / "features.json").read_text())
    assert described["spec"] == dataclasses.asdict(SPEC)
    assert described["input"] == {"name": "features", "shape": ["batch", 5, 20, 22], "type": "float32"}
    assert "librosa.feature.chroma_cens" in described["features"]["chroma_cens"]["call"]


def test_the_proof_can_be_checked(world, exported):
    folder, proof = exported
    assert json.loads((folder / "proof.json").read_text()) == proof
    values, labels = held_out(world)
    floats, integers = (run_onnx(folder / name, values) for name in ("model.onnx", "model.int8.onnx"))
    stored = runs.read_predictions(world.student)
    np.testing.assert_allclose(floats, stored.logits, atol=1e-4)
    assert proof["worst_logit_difference"] < 1e-4 and proof["held_out_clips"] == len(labels) == shipped.CLIPS
    assert proof["accuracy_float"] == proof["accuracy_torch"] == np.mean(floats.argmax(1) == labels)
    assert proof["accuracy_int8"] == np.mean(integers.argmax(1) == labels)
    assert proof["agreement_int8"] == np.mean(integers.argmax(1) == floats.argmax(1))
    assert proof["bytes"] == {name: (folder / name).stat().st_size for name in ("model.onnx", "model.int8.onnx")}
    assert proof["accuracy_float"] > 0.7  # the tiny network has learned something, so the next line says something
    assert proof["agreement_int8"] > 0.7 and proof["worst_logit_difference_int8"] > 0


@pytest.mark.parametrize("way", [int8.PLAIN, int8.WEIGHTS_ALONE])
def test_int8_computes_in_integers_but_standardises_in_float(world, exported, way):
    folder, proof = exported
    content = int8.quantised_by(way, onnx.load(folder / "model.onnx"), held_out(world)[0])
    model = onnx.load_from_string(content).graph
    weights = {t.name: numpy_helper.to_array(t) for t in model.initializer}
    sizes = {kind: sum(w.size for w in weights.values() if w.dtype == kind) for kind in (np.int8, np.float32)}
    convolved = 5 * 32 * 9 + 32 * 16 * 9 + 16 * 5 * 5 * 32 + 32 * 3
    assert sizes[np.int8] >= convolved and sizes[np.float32] < 1000
    maker = {name: node.op_type for node in model.node for name in node.output}
    for kind in ("Sub", "Div"):
        (node,) = (node for node in model.node if node.op_type == kind)
        assert maker.get(node.input[0]) != "DequantizeLinear"
    layers = [node for node in model.node if node.op_type in ("Conv", "Gemm")]
    kinds = ("DequantizeLinear", "DequantizeLinear") if way == int8.PLAIN else ("Div", "Mul")
    assert (maker[layers[0].input[0]], maker[layers[0].input[1]]) == kinds
    integer_maps = [maker[node.input[0]] == "DequantizeLinear" for node in layers]
    assert len(layers) == 4 and integer_maps == [way == int8.PLAIN] * 4
    assert len(content) < 0.5 * proof["bytes"]["model.onnx"] > proof["bytes"]["model.int8.onnx"]
    assert proof["int8_in_float"] == int8.way_of((folder / "model.int8.onnx").read_bytes())
    assert f"; in floating point: {proof['int8_in_float']}" in export.text(folder, proof)


def test_the_teacher_too(world):
    folder, proof = export.export(world.teacher, world.root / "cache", world.root / "exports", calibration=18)
    digest = runs.settings_digest("teacher", runs.read_config(world.teacher)["settings"])
    assert folder.name == f"resnet18-ce1-{digest}-fold1-seed0" and proof["calibration_clips"] == 18
    integers = onnx.load(folder / "model.int8.onnx").graph
    assert "BatchNormalization" not in {node.op_type for node in integers.node}


@pytest.mark.parametrize("count", [1, 5, 400])
def test_calibration_never_sees_the_held_out_fold(world, count):
    data = export.held_out(runs.read(world.student), SPEC, world.root / "cache", count)
    training = {row.tobytes() for row in cache.read_fold(world.paths[1]).features.reshape(-1, *SPEC.shape)}
    given = [row.tobytes() for row in data.calibration]
    assert set(given) <= training and len(set(given)) == len(given) == min(count, 2 * shipped.CLIPS)
    np.testing.assert_array_equal(data.features, held_out(world)[0])


def test_a_difference_is_an_error_and_leaves_the_older_export(world, exported, monkeypatch):
    before = {path.name: path.read_bytes() for path in exported[0].iterdir()}
    monkeypatch.setattr(export, "TOLERANCE", 0.0)
    with pytest.raises(InputError, match=r"differ from torch's by up to .*expected less than"):
        export.export(world.student, world.root / "cache", world.root / "exports")
    assert {path.name: path.read_bytes() for path in exported[0].iterdir()} == before


def test_a_full_disk_leaves_the_older_export(exported, tmp_path, monkeypatch):
    folder = tmp_path / "tiny" / "x"
    shutil.copytree(exported[0], folder)

    def full(path, content):
        if path.name == "b":
            raise OSError(errno.ENOSPC, "No space left on device")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    monkeypatch.setattr(export.runs, "write_atomic", full)
    with pytest.raises(OSError, match="No space"):
        export.write_folder(folder, {"a": b"1", "b": b"2"})
    assert [path.name for path in folder.parent.iterdir()] == ["x"]
    assert sorted(path.name for path in folder.iterdir()) == FILES
    monkeypatch.undo()
    export.write_folder(folder, {"a": b"1", "b": b"2"})
    assert [path.name for path in folder.parent.iterdir()] == ["x"]
    assert sorted(path.name for path in folder.iterdir()) == ["a", "b"]


def test_other_features_than_the_runs_are_refused(world, tmp_path):
    shutil.copytree(world.root / "cache", tmp_path / "cache")
    record = runs.read(world.student)
    record = dataclasses.replace(record, data={1: record.data[1], 2: "0" * 64})
    with pytest.raises(InputError, match=r"was trained on other features of fold 2 \(clips were added"):
        export.held_out(record, SPEC, tmp_path / "cache", 10)
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(InputError, match=r"no features in .*make features"):
        export.export(world.student, tmp_path / "cache", tmp_path / "exports")
    assert not (tmp_path / "exports").exists()


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_without_the_extra(world, tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"{package}, which is not installed; .*pip install 'audio-rkd\[export\]'"):
        export.export(world.student, world.root / "cache", tmp_path)


def record(mix, fold, accuracy, seed=0, status="trained", role="student"):
    settings = {name: {"a": 1} for name in ("features", "teacher", "student")}
    return runs.Record(
        Path(f"{mix}-{fold}-{seed}"),
        role,
        "tiny",
        "folder",
        False,
        "cnn2",
        "default",
        fold,
        seed,
        mix,
        settings,
        runs.Result(status, accuracy),
    )


def test_the_default_is_the_best_mix_not_the_easiest_fold():
    records = [
        record("a", 1, 0.5),
        record("a", 2, 0.9),
        record("b", 1, 0.73),
        record("b", 2, 0.74),
        record("c", 1, 0.99),
        record("a", 2, 0.1, status="did not train", seed=1),
        record("t", 1, 0.99, role="teacher"),
    ]
    assert export.best_student(records).folder == Path("b-1-0")
    # Two seeds of one fold count as one fold.
    more = [*records, *(record("a", 2, 0.95, seed=s) for s in (2, 3, 4))]
    assert export.best_student(more).folder == Path("b-1-0")
    # Runs at chance count: without the one of 0.1 the mean of a would be 75.
    assert export.best_student([*records[:2], records[5], record("b", 1, 0.6), record("b", 2, 0.6)]).folder == Path(
        "b-1-0"
    )
    # They are shipped only where the mix has no other.
    low = record("a", 1, 0.1, status="did not train")
    assert export.best_student([low]) is low
    assert export.best_student([low, record("a", 2, 0.9)]).folder == Path("a-2-0")
    # Those that several teachers, or files, taught are students of distill too; those of experiments and pairs are not.
    taught = dataclasses.replace(record("a", 1, 0.6, role="step"), experiment="student", folder=Path("taught/a-1-0"))
    others = [dataclasses.replace(taught, experiment="survey"), dataclasses.replace(taught, without=2)]
    assert export.best_student([*others, taught, record("a", 1, 0.5)]) is taught
    with pytest.raises(InputError, match="no student with an accuracy"):
        export.best_student(others)
    with pytest.raises(InputError, match="no student with an accuracy"):
        export.best_student([record("a", 1, None, status="failed")])


def test_the_command(world, tmp_path, monkeypatch):
    for name in ("cache", "runs"):
        (tmp_path / name).symlink_to(world.root / name)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(command.export, [str(world.student.relative_to(world.root))], catch_exceptions=False)
    assert result.exit_code == 0
    record = runs.read(world.student)
    digest = record.digest
    assert f"exports/tiny/cnn2-ce1-{digest}-fold1-seed0" in result.stdout and "allowed: 1e-04" in result.stdout
    proof = json.loads((tmp_path / f"exports/tiny/cnn2-ce1-{digest}-fold1-seed0/proof.json").read_text())
    assert (proof["settings"], proof["generation"]) == (digest, 0)
    # Another setting is another folder, so that no network replaces another one.
    settings = dict(record.recorded_settings)
    settings["student"] = {**settings["student"], "lr": 0.5}
    assert export.folder_name(dataclasses.replace(record, recorded_settings=settings)) not in result.stdout
    monkeypatch.setattr(choosing, "corpus_name", lambda *_: "tiny")
    result = CliRunner().invoke(command.export, [], catch_exceptions=False)
    assert "best mix by mean accuracy: ce:1; its fold 1, seed 0" in result.stderr and result.exit_code == 0
    with pytest.raises(InputError, match="no such file or folder; expected a run folder"):
        CliRunner().invoke(command.export, ["runs/gone"], catch_exceptions=False)
    shutil.copy(world.student / "model.pt", tmp_path / "alone.pt")
    with pytest.raises(
        InputError, match="alone is enough for predict only: expected the folder of a finished run"
    ) as refusal:
        CliRunner().invoke(command.export, ["alone.pt"], catch_exceptions=False)
    assert "remove" not in str(refusal.value)


WITHOUT_TORCH = """
import runpy, sys

class Absent:
    def find_spec(self, name, *_):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")

sys.meta_path.insert(0, Absent())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
assert "torch" not in sys.modules
"""


def example(*arguments):
    """The example in a process where torch is not installed."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, str(EXAMPLE), *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


@pytest.mark.slow
def test_the_example_does_without_torch(world, exported, tmp_path):
    clips = sorted((world.root / "data" / "fold1").glob("*.wav"))
    done = example(exported[0], *clips)
    assert done.returncode == 0, done.stderr
    stored = runs.read_predictions(world.student)
    for line, path, logits in zip(done.stdout.splitlines(), clips, stored.logits, strict=True):
        name, first, *_ = line.split("   ")
        label, percent, _ = first.split(" ")
        share = 100 / np.exp(logits - logits.max()).sum()
        assert name == str(path) and label == CLASSES[logits.argmax()]
        assert float(percent) == pytest.approx(share, abs=0.06)
    assert len(EXAMPLE.read_text().splitlines()) < 60 and "import torch" not in EXAMPLE.read_text()
    (tmp_path / "text.wav").write_text("hello")
    spoilt = {
        "labels.json": '{"classes": ["a"',
        "model.onnx": "no model",
        "features.json": '{"spec": {"colour": 1}}',
    }
    for name, content in spoilt.items():
        shutil.copytree(exported[0], tmp_path / name)
        (tmp_path / name / name).write_text(content)
    (tmp_path / "list").mkdir()
    (tmp_path / "list" / "features.json").write_text("[1]")
    cases = [
        ((exported[0], tmp_path / "text.wav"), "text, not sound"),
        ((), "usage"),
        *(((tmp_path / name, clips[0]), f"{tmp_path / name / name}") for name in spoilt),
        *(((tmp_path / name, clips[0]), "expected a folder that audio-rkd export wrote") for name in ("", "list")),
    ]
    for arguments, words in cases:
        done = example(*arguments)
        assert done.returncode == 1 and words in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_the_line_that_installs_an_extra(monkeypatch, tmp_path):
    """By the Python that runs; where the project is not installed, from its folder, for no index has it."""
    assert extras.install_line("mic") == f"{sys.executable} -m pip install 'audio-rkd[mic]'"

    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    monkeypatch.setattr(sys, "executable", "/my env/bin/python")
    assert extras.install_line("plots", "dask") == f"'/my env/bin/python' -m pip install -e '{ROOT}[plots,dask]'"


def test_the_runs_of_a_preset_whose_file_is_gone(tmp_path: Path) -> None:
    run = recorded.write_run(tmp_path, 8)
    recorded.write_run(tmp_path, 10, mix="angle:1")
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"preset": "mine"}))
    for name in ("mine", "mine.toml", str(tmp_path / "mine.toml")):
        assert export.chosen(None, tmp_path / "runs", "tiny", name)[0] == run
    with pytest.raises(InputError, match="no preset 'yours'; expected one of cifar-paper"):
        export.chosen(None, tmp_path / "runs", "tiny", "yours")


def test_a_calibrated_run_is_exported_with_its_temperature(world, exported, tmp_path):
    """In every file's metadata, in labels.json and the proof; the logits are the same, and so is all of a run without one."""
    plain, before = exported
    fitted = calibration.Calibration(2.5, 10, (2,), (), "", 1.0, 0.9, 0.2, 0.1)
    calibration.write(world.student, fitted)
    try:
        folder, proof = export.export(world.student, world.root / "cache", tmp_path)
    finally:
        (world.student / calibration.NAME).unlink()
    assert json.loads((folder / "labels.json").read_text()) == {
        **json.loads((plain / "labels.json").read_text()),
        "temperature": 2.5,
    }
    fold = cache.read_fold(world.paths[0])
    test = fold.features[:, 0]
    for name in ("model.onnx", "model.int8.onnx"):
        props = {one.key: one.value for one in onnx.load(folder / name).metadata_props}
        assert props["temperature"] == "2.5"
        assert not {one.key for one in onnx.load(plain / name).metadata_props} & {"temperature"}
        one, other = (export.onnx_logits((place / name).read_bytes(), test) for place in (folder, plain))
        assert np.array_equal(one, other)
    entry = proof["calibration"]
    logits = export.onnx_logits((plain / "model.onnx").read_bytes(), test)
    labels = np.array(fold.header.labels)
    for key, divisor in (("held_out_error_before", 1), ("held_out_error_after", 2.5)):
        assert entry[key] == pytest.approx(evaluation.expected_calibration_error(logits / divisor, labels), abs=1e-6)
    assert entry["fitted_on_folds"] == [2] and "temperature 2.500" in export.text(folder, proof)
    assert "calibration" not in before and "temperature" not in (plain / "labels.json").read_text()
