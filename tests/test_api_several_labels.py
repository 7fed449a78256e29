"""The Python API on clips with several labels each: arrays of any program, a term on one batch, and what is refused."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

import audio_rkd as rkd

#: The last clip has none of the classes.
LABELS = np.array([[1, 0, 1], [0, 1, 0], [1, 1, 1], [0, 0, 1], [1, 0, 0], [0, 1, 1], [1, 1, 0], [0, 0, 0]])


def fold(labels: Any = LABELS, test_labels: Any = None, **more: Any) -> Any:
    random = np.random.default_rng(3)
    values = np.einsum("nc,cxy->nxy", LABELS, random.normal(size=(3, 12, 12)))[:, None] + random.normal(
        size=(8, 1, 12, 12)
    )
    return rkd.fold_of(values, labels, values[::-1], labels[::-1] if test_labels is None else test_labels, **more)


def quick(**changes: Any) -> Any:
    how = rkd.settings("default").student
    return dataclasses.replace(how, epochs=2, batch=4, **changes)


def test_arrays_of_several_labels_are_given_back_trained_and_tested() -> None:
    one = fold(test_labels=LABELS[::-1].astype(bool), classes=["bell", "dog", "rain"])
    assert one.several_labels and np.array_equal(one.train_labels, LABELS)
    assert np.array_equal(one.test_labels, LABELS[::-1]) and one.test_labels.dtype == np.int64
    teacher = rkd.fit(one, "ce", quick())
    student = rkd.fit(one, "angle:20,ce:1", quick(class_weights="balanced"), teacher=teacher)
    says = {"embedding": embeddings(teacher, one.train)}
    assert rkd.fit(one, "angle:20,ce:1", quick(class_weights="balanced"), teacher=says).weights == student.weights
    figures = rkd.evaluate(teacher, one, teacher=student)
    assert teacher.logits is not None
    each = [average_precision_score(LABELS[::-1, place], teacher.logits[:, place]) for place in range(3)]
    assert figures.map == pytest.approx(np.mean(each)) and figures.agreement is None and figures.accuracy is None
    assert figures.chance == pytest.approx(np.mean([4 / 8, 4 / 8, 4 / 8])) and figures.test_clips == 8
    assert teacher.history[-1]["map"] == figures.map and "train_accuracy" not in teacher.history[-1]


def test_where_no_held_out_clip_has_a_class_there_is_no_mean_average_precision() -> None:
    one = fold(test_labels=0 * LABELS)
    figures = rkd.evaluate(rkd.fit(one, "ce", quick()), one)
    assert np.isnan([figures.map, figures.chance]).all() and np.isfinite(figures.nll)


def embeddings(model: Any, values: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return model.network(torch.from_numpy(values)).embedding.numpy()  # type: ignore[no-any-return]


def test_clips_of_one_label_are_no_clips_of_several() -> None:
    one, other = fold(), fold(np.arange(8) % 3)
    assert not other.several_labels and other.train_labels.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    model = rkd.fit(other, "ce", quick())
    model = dataclasses.replace(model, data=None)  # as one that was read from a file of its own
    with pytest.raises(rkd.InputError, match="learned clips of one label each, and the fold's have several labels"):
        rkd.evaluate(model, one)
    with pytest.raises(rkd.InputError, match="learned clips of one label each"):
        rkd.fit(one, "angle,ce", quick(), teacher=model)


def outputs(*runs: int) -> Any:
    network = rkd.network("cnn2", (1, 12, 12), 3)
    told = network(torch.randn(8, 1, 12, 12, generator=torch.Generator().manual_seed(1)))
    if not runs:
        return told
    return type(told)({name: torch.stack([value] * runs[0]) for name, value in told.items()})


def test_one_batch_of_several_labels_is_the_binary_cross_entropy() -> None:
    told, labels = outputs(), torch.from_numpy(LABELS)
    value = rkd.loss("ce", told, None, labels)
    z = told.logits.detach().double().numpy()
    costs = [
        -np.log(1 / (1 + np.exp(-z[n, c]))) if LABELS[n, c] else -np.log(1 - 1 / (1 + np.exp(-z[n, c])))
        for n in range(8)
        for c in range(3)
    ]
    assert value.item() == pytest.approx(np.mean(costs), rel=1e-6)
    value.backward()
    both = outputs(2)
    other = torch.stack([labels, 1 - labels]).float()
    of_runs = rkd.loss("ce", both, None, other, label_smoothing=0.1)
    for run in range(2):
        assert of_runs[run].item() == pytest.approx(rkd.loss("ce", told, None, other[run], label_smoothing=0.1).item())
    relation = rkd.loss("distance", told, outputs(), labels)
    assert torch.equal(relation, rkd.loss("distance", told, outputs(), labels.argmax(1)))


WRONG: dict[str, Any] = {
    r"labels \(8, 2\) of torch.int64 for logits \(8, 3\): expected \(8,\) int64, or \(8, 3\) of 0 and 1": lambda: (
        rkd.loss("ce", outputs(), None, torch.zeros(8, 2, dtype=torch.int64))
    ),
    r"labels \(8,\) of torch.float32": lambda: rkd.loss("ce", outputs(), None, torch.zeros(8)),
    r"not all 0 or 1": lambda: rkd.loss("ce", outputs(), None, torch.full((8, 3), 0.5)),
    r"labels: ndarray; expected a torch tensor": lambda: rkd.loss("ce", outputs(), None, LABELS),  # type: ignore[arg-type]
    r"labels from 0 to 3 for 3 classes": lambda: rkd.loss("ce", outputs(), None, torch.arange(8) % 4),
    r"triplet needs one label a clip; expected labels \(8,\), or one of .*angle": lambda: rkd.loss(
        "triplet", outputs(), None, torch.from_numpy(LABELS)
    ),
    r"angle reads embedding of a teacher, and none is given": lambda: rkd.loss(
        "angle", outputs(), None, torch.from_numpy(LABELS)
    ),
    r"student: dict; expected what a network says, or Outputs": lambda: rkd.loss(
        "ce",
        dict(outputs()),
        None,
        torch.from_numpy(LABELS),  # type: ignore[arg-type]
    ),
    r"teacher: Tensor; expected what a network says": lambda: rkd.loss(
        "angle", outputs(), outputs().embedding, torch.from_numpy(LABELS)
    ),
    r"embedding of 8 rows by the student, of 1 by the teacher; expected both of one batch": lambda: rkd.loss(
        "hint", outputs(), rkd.Outputs({name: told[:1] for name, told in outputs().items()}), torch.from_numpy(LABELS)
    ),
    r"soft of mix soft:1: it needs one label a clip, and the clips of arrays": lambda: rkd.fit(fold(), "soft", quick()),
    r"label_noise = 0.1: the clips of arrays have several": lambda: rkd.fit(fold(), "ce", quick(label_noise=0.1)),
    r"train_labels: \(8, 3\) of float64 for 8 rows; .*\(rows, classes\) of 0 and 1": lambda: fold(0.5 * LABELS),
    r"labels of 3 classes and the classes a, b": lambda: fold(classes=["a", "b"]),
    r"labels of 3 classes and the classes a, b, c, d": lambda: fold(classes=["a", "b", "c", "d"]),
    r"train \(8, 3\) and test \(8, 2\): expected labels of one shape": lambda: fold(LABELS, LABELS[:, :2]),
    r"train \(8, 3\) and test \(8,\): expected labels of one shape": lambda: fold(LABELS, LABELS[:, 0]),
}


@pytest.mark.parametrize("words", WRONG)
def test_what_a_caller_gets_wrong_is_one_line(words: str) -> None:
    with pytest.raises(rkd.InputError, match=words) as caught:
        WRONG[words]()
    assert "\n" not in str(caught.value)
