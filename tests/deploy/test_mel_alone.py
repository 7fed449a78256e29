"""Students on mel bands alone: one file from sound to class says what ``predict`` says, and computes no more than that."""

from __future__ import annotations

import dataclasses
import types

import numpy as np
import onnx
import pytest
import soundfile

from pipeline import features, models, runs
from pipeline.deploy import export, int8, prediction
from pipeline.deploy.cost_rows import rows_of
from pipeline.deploy.graph import graph as student_graph
from pipeline.deploy.one_file import Form, graph
from tests import shipped

SPEC = dataclasses.replace(shipped.SPEC, use="melspectrogram", bins=64)


def whole(model: str) -> tuple[models.Network, onnx.ModelProto]:
    """A network as it is drawn, and the one file of it."""
    network = models.network(model, SPEC.shape, 3, seed=1).eval()
    form = Form(SPEC.sr, half=False, int8=False)
    about = graph.described(SPEC, ["a", "b", "c"])
    return network, graph.joined(graph.front(SPEC, SPEC.sr, half=False), student_graph(network), form, about)


@pytest.mark.parametrize("model", ["small", "tiny"])
def test_one_file_of_mel_bands_is_features_and_network(model: str) -> None:
    network, file = whole(model)
    run = export.session(file.SerializeToString()).run
    for label, n in ((0, SPEC.samples), (1, SPEC.samples // 3), (2, 2 * SPEC.samples)):
        sound = shipped.sound(label, 1, n)
        clip = np.pad(sound[: SPEC.samples], (0, max(0, SPEC.samples - n)))
        expected = export.torch_logits(network, features.extract(clip[None], SPEC))
        logits, probabilities = run(["logits", "probabilities"], {"samples": sound[None]})
        np.testing.assert_allclose(logits, expected, atol=1e-4)
        assert probabilities.argmax() == expected.argmax() and probabilities.sum() == pytest.approx(1, abs=1e-5)
    # Nothing of the constant-Q transform, whose halvings and kernels are the most of a file of all five features.
    weights = sum(tensor.ByteSize() for tensor in file.graph.initializer)
    assert weights < 4 * models.parameters(network) + 450_000
    assert {(one.domain, one.version) for one in file.opset_import} == {("", 17)}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    paths = shipped.write_corpus(root, SPEC)
    run = shipped.write_run(root, paths, accuracy=0.9, model="small")
    data = root / "data" / "fold1"
    folder, proven = export.export(run, root / "cache", root / "exports", rates=(44100,), half=True, data=data)
    return types.SimpleNamespace(root=root, run=run, data=data, folder=folder, proof=proven)


@pytest.mark.slow
def test_the_export_of_small_is_proven_and_says_what_predict_says(world) -> None:
    member = prediction.checkpoint(world.run)
    assert member.spec == SPEC and member.network.name == "small"
    files = world.proof["one_file"]["files"]
    assert set(files) == {
        f"student-sound{rate}{half}{int8}.onnx"
        for rate in ("", ".44100")
        for half in ("", ".half")
        for int8 in ("", ".int8")
    }
    exact = files["student-sound.onnx"]
    assert set(exact["equal_classes"].values()) == {1.0} and max(exact["worst_logit_difference"].values()) < 1e-3
    assert exact["bytes"] < 1_250_000
    run = export.session(world.folder / "student-sound.onnx").run
    for path in sorted(world.data.glob("*.wav")):
        sound, _ = soundfile.read(path, dtype="float32")
        expected = prediction.predict_file([member], path).logits[0, 0]
        assert run(["logits"], {"samples": sound[None]})[0][0].argmax() == expected.argmax()


@pytest.mark.slow
def test_int8_of_small_says_what_floating_point_says(world) -> None:
    assert abs(world.proof["accuracy_int8"] - world.proof["accuracy_float"]) <= 0.005
    assert world.proof["bytes"]["model.int8.onnx"] < 0.5 * world.proof["bytes"]["model.onnx"]


@pytest.mark.slow
def test_it_has_its_row_of_costs(world) -> None:
    record = runs.read(world.run)
    rows = rows_of(record, [record], (world.folder, world.proof), 1.0, SPEC.seconds, 1, 1, 10)
    assert [row.name for row in rows] == [
        f"student small, {form}" for form in ("torch", "ONNX", "ONNX int8", "one file")
    ]
    assert rows[-1].parameters == 98_682 - 7 * 129 and rows[-1].feature_ms is None and rows[-1].median_ms > 0


@pytest.mark.slow
def test_int8_takes_the_first_way_that_is_near_enough_else_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    network = models.network("tiny", SPEC.shape, 3, seed=1).eval()
    clips = np.stack([shipped.sound(label, index) for label in range(3) for index in range(8)])
    values = features.extract(clips, SPEC)
    model = student_graph(network)
    before = model.SerializeToString()
    expected = int8.logits(before, values)
    each = {way: int8.quantised_by(way, model, values) for way in int8.WAYS}
    errors = {way: np.square(int8.logits(content, values) - expected).mean() for way, content in each.items()}
    assert errors[int8.OUTPUT_LAYER] < errors[int8.PLAIN]  # the logits are no longer rounded to 8 bits
    assert int8.chosen_way(model, values) == int8.WEIGHTS_ALONE  # 24 clips do not tell the ranges of maps
    monkeypatch.setattr(int8, "FEWEST", 2)
    for enough, way in ((np.inf, int8.PLAIN), (-1.0, min(errors, key=errors.__getitem__))):
        monkeypatch.setattr(int8, "ENOUGH", enough)
        chosen = int8.logits(int8.quantised(model, values), values)
        np.testing.assert_allclose(chosen, int8.logits(each[way], values), atol=1e-6)
    assert model.SerializeToString() == before  # what was given is as it was
    kinds = {way: [node.op_type for node in onnx.load_from_string(each[way]).graph.node] for way in int8.WAYS}
    counts = [kinds[way].count("DequantizeLinear") for way in int8.WAYS]
    assert counts[0] > counts[1] > counts[2] > counts[3] > counts[4] == 0
    assert [int8.way_of(content) for content in each.values()] == list(int8.WAYS)
