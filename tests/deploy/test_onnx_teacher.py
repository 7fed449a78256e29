"""An ONNX audio classifier as a teacher: models made here, run over a few clips; what they say against numpy."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipeline.audio import noise, read_clip
from pipeline.config import FeatureSpec, InputError
from pipeline.corpus import Corpus
from pipeline.deploy.onnx_asked import Asked
from pipeline.deploy.onnx_teacher import as_logits, named, teacher_file
from pipeline.teacher_files import fitting
from pipeline.teacher_files.choosing import of_fold
from pipeline.teacher_files.fitting import Clips
from pipeline.teacher_files.reading import read
from pipeline.teacher_files.writing import write
from tests.tiny import CLASSES

SPEC = FeatureSpec()
WEIGHTS = np.random.default_rng(0).standard_normal((2, 11)).astype(np.float32)
LABELS = [*CLASSES[::-1], "speech"]


def model(path: Path, shape: list[Any], outputs: dict[str, str], **metadata: str) -> Path:
    """Loudness and peak of the samples as ``embedding`` (1, 2); ``scores`` = W · embedding; ``chances`` its softmax."""
    axes = [len(shape) - 1]
    nodes = [
        helper.make_node("Abs", ["x"], ["a"]),
        helper.make_node("ReduceMean", ["a", "axes"], ["mean"], keepdims=0),
        helper.make_node("ReduceMax", ["a", "axes"], ["peak"], keepdims=0),
        helper.make_node("Reshape", ["mean", "column"], ["m"]),
        helper.make_node("Reshape", ["peak", "column"], ["p"]),
        helper.make_node("Concat", ["m", "p"], ["embedding"], axis=1),
        helper.make_node("MatMul", ["embedding", "w"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["chances"], axis=-1),
    ]
    widths = {"embedding": 2, "scores": 11, "chances": 11}
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, widths[name]]) for name in outputs]
    constants = {"axes": np.array(axes), "column": np.array([1, 1]), "w": WEIGHTS}
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        infos,
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    written = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(written, metadata)
    onnx.save(written, path)
    return path


def views(corpus: Corpus, clip: int, rate: int, samples: int) -> list[np.ndarray]:
    """The samples of both views."""
    about = corpus.clips[clip]
    clean = read_clip(about.path, sr=rate, samples=samples, seconds=about.seconds)
    return [clean, clean + noise(about.name, samples, std=SPEC.noise_std, seed=SPEC.noise_seed)]


def test_its_answers_are_kept_as_a_teacher_file_once(corpus: Corpus, clips: Clips, tmp_path: Path) -> None:
    about = {"sample_rate": "8000", "classes": json.dumps(LABELS), "trained_on": "[]"}
    path = model(tmp_path / "m.onnx", [1, "n"], {"embedding": "", "scores": ""}, **about)
    told: list[str] = []
    file = teacher_file(Asked(path), corpus, clips, SPEC, tmp_path / "cache", told.append)
    assert file.parent == tmp_path / "cache" / corpus.name / "teachers"
    assert any("logits: output 'scores', 10 of its 11 classes, as they are" in line for line in told)
    assert of_fold([file], 1) == (file,)
    fitting.check(read(file), 1, clips)
    kept = read(file)
    samples = round(8000 * corpus.seconds)
    for clip in range(len(clips.names)):
        for view, x in enumerate(views(corpus, clip, 8000, samples)):
            embedding = np.array([np.abs(x).mean(), np.abs(x).max()])
            row = kept.places[clips.names[clip], view]
            np.testing.assert_allclose(kept.outputs["embedding"][0, row], embedding, rtol=1e-4)
            np.testing.assert_allclose(
                kept.outputs["logits"][0, row], (embedding @ WEIGHTS)[:10][::-1], rtol=1e-3, atol=1e-5
            )
    before, told = file.stat().st_mtime_ns, []
    assert teacher_file(Asked(path), corpus, clips, SPEC, tmp_path / "cache", told.append) == file
    assert file.stat().st_mtime_ns == before and told == [f"{path}: its answers are in {file}"]
    whole = file.read_bytes()
    file.write_bytes(whole[:300] + bytes([whole[300] ^ 4]) + whole[301:])
    assert teacher_file(Asked(path), corpus, clips, SPEC, tmp_path / "cache", told.append) == file
    assert "damaged" in told[1] and told[1].endswith("asked for again") and file.read_bytes() == whole
    other = teacher_file(Asked(path, trained_on=(2,)), corpus, clips, SPEC, tmp_path / "cache", told.append)
    assert other != file and read(other).trained_on == (frozenset({2}),)


@pytest.mark.parametrize("shape", [["n"], [1, 1, 3000], ["batch", 3000]])
def test_any_shape_of_samples_and_probabilities_without_names(
    corpus: Corpus, clips: Clips, tmp_path: Path, shape: list[Any]
) -> None:
    path = model(tmp_path / "m.onnx", shape, {"chances": ""})
    told: list[str] = []
    file = teacher_file(Asked(path, rate=8000, trust=True), corpus, clips, SPEC, tmp_path / "cache", told.append)
    kept = read(file)
    assert set(kept.outputs) == {"embedding"} and kept.trained_on is None
    assert any("no logits: nothing says what its classes are" in line for line in told)
    x = views(corpus, 1, 8000, 3000 if shape[-1] == 3000 else round(8000 * corpus.seconds))[0]
    scores = np.array([np.abs(x).mean(), np.abs(x).max()]) @ WEIGHTS
    np.testing.assert_allclose(
        kept.outputs["embedding"][0, 2], np.exp(scores) / np.exp(scores).sum(), rtol=1e-3, atol=1e-6
    )
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(LABELS))
    by_name = teacher_file(Asked(path, 8000, labels, trust=True), corpus, clips, SPEC, tmp_path / "cache", told.append)
    assert by_name != file and any("log p of its probabilities" in line for line in told)
    p = np.exp(scores - np.log(np.exp(scores).sum()))
    np.testing.assert_allclose(read(by_name).outputs["logits"][0, 2], np.log(p)[:10][::-1], rtol=1e-3, atol=1e-4)


def test_probabilities_become_logits_and_logits_stay() -> None:
    softmax = np.array([[0.2, 0.8], [1.0, 0.0]], np.float32)
    np.testing.assert_allclose(as_logits(softmax)[0], np.log([[0.2, 0.8], [1.0, 1e-7]]), rtol=1e-5)
    each = np.array([[0.9, 0.8], [0.5, 0.0]], np.float32)
    np.testing.assert_allclose(as_logits(each)[0][:, 0], np.log([9.0, 1.0]), atol=1e-5)
    assert as_logits(np.array([[-1.0, 3.0]]))[1] == "as they are"


@pytest.mark.parametrize("order", [("embedding", "scores"), ("scores", "embedding"), ("embedding", "scores", "wide")])
def test_an_embedding_as_wide_as_there_are_classes_is_no_logits(order: tuple[str, ...]) -> None:
    """Whichever of the two the model names first; alone it is both."""
    widths = {"embedding": 3, "scores": 3, "wide": 8}
    answers = {name: np.full((2, 2, widths[name]), place + 2.0, np.float32) for place, name in enumerate(order)}
    outputs, notes = named(answers, ["b", "a", "c"], ["a", "b", "c"], Path("m.onnx"))
    assert outputs["logits"] is not outputs["embedding"] is answers["embedding"]
    assert np.array_equal(outputs["logits"], answers["scores"]) and "logits: output 'scores', 3 of its 3" in notes[1]
    alone, _ = named({"embedding": answers["embedding"]}, ["b", "a", "c"], ["a", "b", "c"], Path("m.onnx"))
    assert np.array_equal(alone["logits"], answers["embedding"])


@pytest.mark.parametrize("outputs", ["embedding, scores", "scores, embedding", "embedding, other", "embedding"])
def test_kept_answers_whose_logits_are_an_embedding_are_asked_for_again(
    corpus: Corpus, clips: Clips, tmp_path: Path, outputs: str
) -> None:
    """As earlier versions took the first output that is wide enough; where it is the only one, it is both, and stays."""
    names = outputs.split(", ")
    node = [helper.make_node("ReduceMax", ["x"], ["peak"], keepdims=1)]
    node += [helper.make_node("Mul", ["peak", f"w_{name}"], [name]) for name in names]
    weights = {
        f"w_{name}": WEIGHTS[:1, : 3 if name == "other" else 11] * (place + 1) for place, name in enumerate(names)
    }
    free = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, "wide"]) for name in names]
    sound = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, "n"])
    constants = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(node, "made", [sound], free, constants)
    path = tmp_path / "m.onnx"
    written = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(written, {"sample_rate": "8000", "classes": json.dumps(LABELS), "trained_on": "[]"})
    onnx.save(written, path)
    told: list[str] = []
    again = functools.partial(teacher_file, Asked(path), corpus, clips, SPEC, tmp_path / "cache", told.append)
    file = again()
    whole, kept = file.read_bytes(), dict(np.load(file))
    columns = [LABELS.index(name) for name in kept["classes"]]
    write(file, {**kept, "logits": as_logits(kept["embedding"])[0][..., columns]})
    told.clear()
    assert again() == file and file.read_bytes() == whole
    assert ("asked for again" in told[0]) == ("scores" in names), told
    told.clear()
    assert again() == file and told == [f"{path}: its answers are in {file}"]


def test_models_that_are_none_or_take_no_samples_are_one_line(corpus: Corpus, clips: Clips, tmp_path: Path) -> None:
    good = model(tmp_path / "good.onnx", [1, "n"], {"scores": ""}, sample_rate="8000")
    (tmp_path / "text.onnx").write_text("no model")
    (tmp_path / "half.onnx").write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    model(tmp_path / "batch.onnx", [4, "n"], {"scores": ""}, sample_rate="8000")
    model(tmp_path / "image.onnx", [1, 1, 1, "n"], {"scores": ""}, sample_rate="8000")
    model(tmp_path / "rateless.onnx", [1, "n"], {"scores": ""})
    model(tmp_path / "seen.onnx", [1, "n"], {"scores": ""}, sample_rate="8000", trained_on="all")
    for name, message in (
        ("absent", "no such file"),
        ("text", "onnxruntime cannot read it"),
        ("half", "onnxruntime cannot read it"),
        ("batch", "expected one clip at a time"),
        ("image", "expected one input of float32 samples"),
        ("rateless", "does not say which rate its samples have .* expected --teacher-rate"),
        ("good", "does not say which folds of this corpus it was trained on; expected --teacher-trained-on"),
        ("seen", "metadata trained_on = 'all'; expected a JSON list of folds"),
    ):
        with pytest.raises(InputError, match=message) as refused:
            teacher_file(Asked(tmp_path / f"{name}.onnx"), corpus, clips, SPEC, tmp_path / "cache", print)
        assert "\n" not in str(refused.value)
    assert not list((tmp_path / "cache").rglob("*.npz"))
