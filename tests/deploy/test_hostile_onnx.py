"""ONNX teachers that are no teachers: what is refused before a clip is heard, and what goes wrong in the middle of hearing."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipeline.config import FeatureSpec, InputError
from pipeline.corpus import Corpus
from pipeline.deploy import onnx_asked
from pipeline.deploy.onnx_asked import Asked
from pipeline.deploy.onnx_teacher import teacher_file
from pipeline.teacher_files.fitting import Clips
from tests.tiny import CLASSES

SPEC = FeatureSpec()
FLOAT = TensorProto.FLOAT
KNOWN = {"sample_rate": "8000", "trained_on": "[]"}
MEAN = [helper.make_node("ReduceMean", ["x"], ["y"], keepdims=1)]


def saved(
    path: Path,
    nodes: Sequence[Any] = MEAN,
    inputs: Sequence[tuple[str, int, list[Any]]] = (("x", FLOAT, [1, "n"]),),
    kind: int = FLOAT,
    weights: Sequence[Any] = (),
    opset: int = 18,
    **metadata: str,
) -> Path:
    """A model whose one output is ``y``."""
    asked = [helper.make_tensor_value_info(name, of, shape) for name, of, shape in inputs]
    graph = helper.make_graph(nodes, "made", asked, [helper.make_tensor_value_info("y", kind, None)], weights)
    written = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    helper.set_model_props(written, {**KNOWN, **metadata})
    onnx.save(written, path)
    return path


def refused(asked: Asked, corpus: Corpus, clips: Clips, cache: Path) -> str:
    """The one line that it ends with; nothing is kept."""
    with pytest.raises(InputError) as error:
        teacher_file(asked, corpus, clips, SPEC, cache, print)
    assert "\n" not in str(error.value) and not [*cache.rglob("*.npz")]
    return str(error.value)


def test_what_a_model_takes_or_is(corpus: Corpus, clips: Clips, tmp_path: Path) -> None:
    two = [("x", FLOAT, [1, "n"]), ("z", FLOAT, [1, "n"])]
    cases = {
        "two inputs": ({"nodes": [helper.make_node("Add", ["x", "z"], ["y"])], "inputs": two}, "takes x tensor.*, z tensor"),
        "whole numbers": ({"inputs": [("x", TensorProto.INT64, [1, "n"])], "kind": TensorProto.INT64}, r"takes x tensor\(int64\)"),
        "doubles": ({"inputs": [("x", TensorProto.DOUBLE, [1, "n"])], "kind": TensorProto.DOUBLE}, r"takes x tensor\(double\)"),
        "no such operator": ({"nodes": [helper.make_node("Nothing", ["x"], ["y"])]}, "onnxruntime cannot read it"),
        "foreign domain": ({"nodes": [helper.make_node("Nothing", ["x"], ["y"], domain="a.b")]}, "onnxruntime cannot read it"),
        "another opset": ({"opset": 999}, "onnxruntime cannot read it"),
        "endless samples": ({"inputs": [("x", FLOAT, [1, 10**12])]}, "takes 1,000,000,000,000 samples, 16000.0 GB"),
    }  # fmt: skip
    for name, (changes, message) in cases.items():
        path = saved(tmp_path / f"{name}.onnx", **changes)
        line = refused(Asked(path), corpus, clips, tmp_path / "cache")
        assert path.name in line and "expected" in line
        assert re.search(message, line), line


def test_what_its_metadata_says(corpus: Corpus, clips: Clips, tmp_path: Path) -> None:
    for text in ('"12"', "[1.0]", "[true]", '["1"]', '{"1": 2}', "1", "[null]", "[Infinity]", "[" * 10**5, "[[1]]"):
        line = refused(Asked(saved(tmp_path / "m.onnx", trained_on=text)), corpus, clips, tmp_path / "cache")
        assert "expected a JSON list of folds" in line and len(line) < 400
    for text, message in (("[77]", "names fold 77"), ("[1]", "fold 1 is held out, and .*m.onnx was trained on it")):
        asked = Asked(saved(tmp_path / "m.onnx", trained_on=text), folds=(1, 2))
        with pytest.raises(InputError, match=message):
            teacher_file(asked, corpus, clips, SPEC, tmp_path / "cache", print)
    double = json.dumps([*CLASSES[:9], CLASSES[0]])
    line = refused(Asked(saved(tmp_path / "m.onnx", classes=double)), corpus, clips, tmp_path / "cache")
    assert "class 'air_conditioner' is there twice" in line
    for rate in ("-8000", "8e3", "0", "NaN", "9" * 5000, "９０００ Hz"):
        line = refused(Asked(saved(tmp_path / "m.onnx", sample_rate=rate)), corpus, clips, tmp_path / "cache")
        assert "does not say which rate" in line


def test_what_it_answers(corpus: Corpus, clips: Clips, tmp_path: Path) -> None:
    """Also where a single clip goes wrong: it is named, and nothing is kept of the others."""
    zero = numpy_helper.from_array(np.zeros(1, np.float32), "zero")
    first = numpy_helper.from_array(np.array([10**6]), "index")
    some = [
        helper.make_node("ReduceMax", ["x"], ["peak"], keepdims=1),
        helper.make_node("Greater", ["peak", "limit"], ["loud"]),
        helper.make_node("NonZero", ["loud"], ["y64"]),
        helper.make_node("Cast", ["y64"], ["y"], to=FLOAT),
    ]
    cases = {
        "NaN": ({"nodes": [helper.make_node("Div", ["zero", "zero"], ["y"])], "weights": [zero]}, "output 'y' of .*wav is not finite"),
        "whole": ({"nodes": [helper.make_node("Shape", ["x"], ["y"])], "kind": TensorProto.INT64}, "output 'y' of .*wav is int64"),
        "truth": ({"nodes": [helper.make_node("IsNaN", ["x"], ["y"])], "kind": TensorProto.BOOL}, "output 'y' of .*wav is bool"),
        "fails": ({"nodes": [helper.make_node("Gather", ["x", "index"], ["y"], axis=1)], "weights": [first]}, "the model cannot take"),
        "nothing": ({"nodes": [helper.make_node("Constant", [], ["limit"], value_float=9.0), *some]}, "output 'y' of .*wav is float32"),
    }  # fmt: skip
    for name, (changes, message) in cases.items():
        path = saved(tmp_path / f"{name}.onnx", **changes)
        with pytest.raises(InputError, match=message) as error:
            teacher_file(Asked(path), corpus, clips, SPEC, tmp_path / "cache", print)
        assert "\n" not in str(error.value) and not [*(tmp_path / "cache").rglob("*.npz")]


def test_weights_that_lie_beside_a_model_are_part_of_it(corpus: Corpus, clips: Clips, tmp_path: Path) -> None:
    """A model whose weights were changed is another one; one whose weights are gone is none."""
    weight = numpy_helper.from_array(np.arange(2000, dtype=np.float32), "w")
    nodes = [helper.make_node("ReduceMean", ["x"], ["mean"], keepdims=1), helper.make_node("Mul", ["mean", "w"], ["y"])]
    path = saved(tmp_path / "m.onnx", nodes, weights=[weight])
    alone = onnx_asked.contents(path)
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    first = teacher_file(Asked(path), corpus, clips, SPEC, tmp_path / "cache", print)
    (tmp_path / "weights.bin").write_bytes(np.ones(2000, np.float32).tobytes())
    second = teacher_file(Asked(path), corpus, clips, SPEC, tmp_path / "cache", print)
    assert first != second and len(alone) == 1 and len(onnx_asked.contents(path)) == 2
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(InputError, match="onnxruntime cannot read it"):
        teacher_file(Asked(path), corpus, clips, SPEC, tmp_path / "cache", print)


def test_weights_of_a_long_name_count_too(tmp_path: Path) -> None:
    """A name of more than 127 bytes has its length in two bytes of the model."""
    weight = numpy_helper.from_array(np.arange(2000, dtype=np.float32), "w")
    path = saved(tmp_path / "m.onnx", [helper.make_node("Mul", ["x", "w"], ["y"])], weights=[weight])
    place = f"{'é' * 60}/{'weights' * 20}.bin"
    (tmp_path / place).parent.mkdir()
    onnx.save(onnx.load(path), path, save_as_external_data=True, location=place, size_threshold=0)
    assert (tmp_path / place).is_file() and len(place.encode()) > 255
    first = onnx_asked.contents(path)
    (tmp_path / place).write_bytes(np.ones(2000, np.float32).tobytes())
    second = onnx_asked.contents(path)
    assert len(first) == len(second) == 2 and first[0] == second[0] and first[1] != second[1]
