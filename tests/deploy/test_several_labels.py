"""Clips with several labels: answers, events and files for a device, each class by itself."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

from pipeline.deploy import answers, segments
from pipeline.deploy.final.present import of_class
from pipeline.deploy.graph import ACTIVATION, INPUT, OPSET, OUTPUT, SIGMOID
from pipeline.deploy.prediction import Prediction

CLASSES = ("bell", "dog", "rain")

#: Windows that overlap by half: the dog in the first two, the rain in the last two, no bell.
LOGITS = np.array([[[-4.0, 3, -2], [-4, 2, 1], [-4, -3, 2]], [[-4.0, 1, -2], [-4, 2, 1], [-4, -3, 4]]])
HEARD = Prediction(4.0, ((0, 2), (1, 3), (2, 4)), LOGITS.astype(np.float32), several=True)


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def test_probabilities_are_of_each_class_by_itself_and_runs_are_averaged() -> None:
    assert HEARD.probabilities == pytest.approx(sigmoid(LOGITS).mean(0)) and HEARD.probabilities[1].sum() > 1.5


def test_an_answer_is_every_class_that_is_there_or_none() -> None:
    mean = sigmoid(LOGITS).mean((0, 1))
    lines = answers.as_text("a.wav", HEARD, CLASSES, 3, "-").splitlines()
    assert "dog" in lines[0] and "rain" in lines[0] and "bell" not in lines[0] and answers.NONE not in lines[0]
    assert "dog" in lines[1] and "rain" not in lines[1]
    assert (
        answers.as_text("a.wav", HEARD, CLASSES, 1).splitlines()
        == answers.as_text("a.wav", HEARD, CLASSES, 3).splitlines()
    )
    silent = Prediction(2.0, ((0, 2),), np.full((1, 1, 3), -2.0, np.float32), several=True)
    assert f"{answers.NONE}; at most" in answers.as_text("a.wav", silent, CLASSES, 3)
    told = json.loads(answers.as_json("a.wav", HEARD, CLASSES, 3))
    assert told["present"] == ["dog", "rain"] and [one["present"] for one in told["windows"]] == [
        ["dog"],
        ["dog", "rain"],
        ["rain"],
    ]
    assert {one["class"]: one["probability"] for one in told["top"]} == pytest.approx(dict(zip(CLASSES, mean)))
    rows = list(csv.reader(io.StringIO(answers.as_csv("a.wav", HEARD, CLASSES, 1))))
    assert len(rows) == 9 and rows[3][4] == "dog"  # every class of each window, however many --top asks for
    (refused, *rows) = csv.reader(io.StringIO(answers.as_csv("a.wav", silent, CLASSES, 3)))
    assert refused[3:5] == ["0", answers.NONE] and len(rows) == 3


def test_a_temperature_divides_before_the_sigmoid() -> None:
    cooled = Prediction(4.0, HEARD.times, HEARD.logits, (2.0, 4.0), several=True)
    expected = (sigmoid(LOGITS[0] / 2) + sigmoid(LOGITS[1] / 4)) / 2
    assert cooled.probabilities == pytest.approx(expected)


def test_what_is_found_is_counted_class_by_class() -> None:
    has, there = np.array([True, True, True, False, False]), np.array([True, False, True, True, False])
    assert of_class(has, there) == {"clips": 3, "found": 2 / 3, "right": 2 / 3}
    assert of_class(has, ~has) == {"clips": 3, "found": 0.0, "right": 0.0}
    assert of_class(np.zeros(5, bool), np.zeros(5, bool)) == {"clips": 0, "found": None, "right": None}


def test_events_of_different_classes_overlap() -> None:
    """Pieces by a plain loop: the mean of the windows over each second."""
    values = sigmoid(LOGITS).mean(0)
    over = [[0], [0, 1], [1, 2], [2]]
    seconds = np.array([values[windows].mean(0) for windows in over])
    expected = []
    for place, label in enumerate(CLASSES):
        start = None
        for second in range(5):
            there = second < 4 and seconds[second, place] >= 0.35
            if there and start is None:
                start = second
            if not there and start is not None:
                expected.append((label, start, second, seconds[start:second, place].mean()))
                start = None
    found = segments.events(HEARD, CLASSES, 0.35)
    assert sorted(event[:3] for event in found) == sorted(one[:3] for one in expected)
    assert {event.label: event.score for event in found} == pytest.approx({one[0]: one[3] for one in expected})
    assert {event.label for event in found} == {"dog", "rain"} and found[0].end > found[1].start


def test_sets_of_classes_are_compared_whole() -> None:
    logits = np.array([[1.0, -1], [1, 1], [-1, -1], [0, -1]])
    others = np.array([[2.0, -3], [1, -1], [-2, -2], [-0.1, -1]])
    assert answers.same_sets(logits, others).tolist() == [True, False, True, False]


@pytest.mark.parametrize(("about", "expected"), [({ACTIVATION: SIGMOID}, "sigmoid"), ({}, "softmax")])
def test_one_file_has_a_sigmoid_in_place_of_the_softmax(about: dict[str, str], expected: str) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import helper

    from pipeline.deploy.export import session
    from pipeline.deploy.one_file import Form
    from pipeline.deploy.one_file.graph import PROBABILITIES, SAMPLES, joined

    def same(name: str, other: str) -> object:
        sides = [helper.make_tensor_value_info(one, onnx.TensorProto.FLOAT, ["batch", 3]) for one in (name, other)]
        graph = helper.make_graph([helper.make_node("Identity", [name], [other])], "same", sides[:1], sides[1:])
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)

    model = joined(same(SAMPLES, INPUT), same(INPUT, OUTPUT), Form(22050, False, False), about)  # type: ignore[arg-type]
    values = LOGITS[0].astype(np.float32)
    logits, told = session(model.SerializeToString()).run([OUTPUT, PROBABILITIES], {SAMPLES: values})
    shares = np.exp(values) / np.exp(values).sum(1, keepdims=True)
    assert np.array_equal(logits, values)
    assert told == pytest.approx(sigmoid(values) if expected == "sigmoid" else shares, rel=1e-5)
