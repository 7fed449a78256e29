"""What every loss must hold, whatever it reads: each check is called with a loss's name, and its inputs come from its file alone.

``test_every_term`` tries them on the files of the folder, ``test_own_files`` and ``test_written_terms`` on files that they write.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from operator import itemgetter
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from pipeline import losses
from pipeline.config import InputError
from pipeline.losses import LossMix, library, mixed_loss
from pipeline.losses.rows import restricted
from pipeline.losses.signature import masked, options
from pipeline.models.outputs import MAPS, chosen
from tests.losses import terms
from tests.losses.terms import Inputs, inputs, value

BATCHES = (1, 2, 3, 8)
LEADS: tuple[tuple[int, ...], ...] = ((), (3,))


def batches(name: str) -> tuple[int, ...]:
    """Those that the parser lets through, and smaller ones, at which a term must be 0 and not NaN."""
    return tuple(sorted({*BATCHES, library.fewest(name)}))


def gradients(name: str, given: Inputs) -> tuple[Tensor, dict[str, Tensor | None], dict[str, Tensor | None]]:
    """Value, and the gradients of its sum by the outputs of student and teacher; None where it does not depend on one."""
    leaves = given.leaves()
    result = value(name, leaves)
    result.sum().backward()
    sides = (leaves.student, leaves.teacher)
    student, teacher = ({output: leaf.grad for output, leaf in side.items()} for side in sides)
    return result.detach(), student, teacher


# Each is called with the name of a loss.


def a_value_per_run_that_is_the_runs_own(name: str) -> None:
    for lead, batch in itertools.product(LEADS, batches(name)):
        given = inputs(*lead, batch, seed=batch)
        values = value(name, given)
        assert values.shape == lead and bool(values.isfinite().all())
        for run in range(3 if lead else 0):
            alone = value(name, given.each(itemgetter(run)))
            torch.testing.assert_close(values[run], alone, rtol=1e-6, atol=1e-9)


def a_run_of_a_pack_is_the_run_alone(name: str) -> None:
    """Through ``mixed_loss``, beside a run without the term and one with another weight."""
    alone, beside = (f"{name}:2,soft:0", "ce:1") if name not in ("soft", "ce") else (f"{name}:2", "angle:1")
    packed = [LossMix.parse(mix) for mix in (alone, "ce:3" if name != "ce" else "soft:3", f"{name}:5,{beside}")]
    given = inputs(3, 4, seed=3)
    student, teacher, draws, memory = terms.packed(name, given, runs=[0, 2])
    total, raw = mixed_loss(packed)(student, teacher, given.labels, draws, None, memory)
    for run, mix in enumerate(packed):
        alone = given.each(itemgetter(run))
        of_terms = {term.key: (term.weight, value(term.name, alone)) for term in mix.terms}
        for term_key, (_, expected) in of_terms.items():
            torch.testing.assert_close(raw[term_key][run], expected, rtol=1e-6, atol=1e-9, check_dtype=False)
        expected = sum(weight * each.double() for weight, each in of_terms.values())
        torch.testing.assert_close(total[run].double(), expected, rtol=1e-5, atol=1e-7)
        assert all(raw[other][run] == 0 for other in raw.keys() - of_terms.keys())


def the_gradient_is_that_of_the_value(name: str) -> None:
    """In float64, by every output that the file says it reads, by all where it does not say or has an adapter."""
    given = inputs(2, 4, seed=4)
    read = terms.about(name)[1]
    keys = chosen(read, given.student) if read is not None and terms.about(name)[3] is None else tuple(given.student)

    def loss(*outputs: Tensor) -> Tensor:
        return value(name, given.changed("student", lambda key, v: dict(zip(keys, outputs)).get(key, v)))

    leaves = [given.student[key].clone().requires_grad_() for key in keys]
    assert value(name, given).dtype == torch.float64
    assert torch.autograd.gradcheck(loss, leaves, fast_mode=True, atol=1e-5)


def nothing_flows_into_the_teacher(name: str) -> None:
    given = inputs(2, 8, seed=5)
    _, student, teacher = gradients(name, given)
    assert all(gradient is None for gradient in teacher.values())
    moved = {key for key, gradient in student.items() if gradient is not None and gradient.abs().sum() > 0}
    read = terms.about(name)[1]
    assert moved
    if read is not None and terms.about(name)[3] is None:  # an adapter may read more than the loss
        assert set(read) - {MAPS} <= moved <= set(chosen(read, given.student))  # of all maps it may compare some


def dead_channel(key: str, values: Tensor) -> Tensor:
    return values.index_fill(-3 if key.startswith("map") else -1, torch.tensor([0]), 0)


HOSTILE: dict[str, Callable[[str, Tensor], Tensor]] = {
    "zero": lambda _, v: torch.zeros_like(v),
    "equal": lambda _, v: torch.full_like(v, 0.7),
    "equal clips": lambda _, v: v[:1].expand_as(v),
    "dead channel": dead_channel,
    "1e-8": lambda _, v: v * 1e-8,
    "1e+8": lambda _, v: v * 1e8,
    "float16": lambda _, v: v.half(),
}


def hostile_inputs_stay_finite(name: str) -> None:
    """Value and gradient, in float32 as in training, whoever has them; without any labelled clip too."""
    plain = inputs(4, seed=6).changed("student", lambda _, v: v.float()).changed("teacher", lambda _, v: v.float())
    for (kind, spoil), who in itertools.product(HOSTILE.items(), (("student",), ("teacher",), ("student", "teacher"))):
        given = plain
        for side in who:
            given = given.changed(side, spoil)
        result, student, _ = gradients(name, given)
        assert bool(result.isfinite()), (kind, who, result)
        for key, gradient in student.items():
            assert gradient is None or bool(gradient.isfinite().all()), (kind, who, key)
    nobody = Inputs(plain.student, plain.teacher, torch.full((4,), -1), plain.numbers)
    result, student, _ = gradients(name, nobody)
    assert bool(result.isfinite()) and all(g is None or bool(g.isfinite().all()) for g in student.values())


def the_order_of_clips_does_not_matter(name: str) -> None:
    """But for terms that draw, and those of episodes, whose order says who is an example."""
    if library.draws(name, 8) or library.constant(name, "ORDERED", False):
        return
    for batch in batches(name)[1:]:
        given, order = inputs(batch, seed=7), torch.randperm(batch, generator=torch.Generator().manual_seed(batch))
        permuted = given.each(partial(torch.index_select, dim=0, index=order))
        torch.testing.assert_close(value(name, permuted), value(name, given), rtol=1e-9, atol=1e-12)


def a_student_that_equals_its_teacher_is_at_the_minimum(name: str) -> None:
    """Where both sides are asked for the same outputs and nothing stands between: no gradient, and no less nearby.

    ``LEAST_AT_TEACHER = False`` of a file says that it is another kind of loss.
    """
    _, read, taught, make, reduced = terms.about(name)
    between = make is not None or reduced is not None or library.has(name, "constants")
    if between or read is None or read != taught or not library.constant(name, "LEAST_AT_TEACHER", True):
        return
    given = inputs(6, student=terms.TEACHER, seed=8)
    equal = Inputs(given.student, {**given.teacher, **given.student}, given.labels, given.numbers)
    least, student, _ = gradients(name, equal)
    assert all(gradient is None or gradient.abs().max() < 1e-9 for gradient in student.values())
    for seed in range(4):
        random = torch.Generator().manual_seed(seed)
        away = equal.changed("student", lambda _, v: v + 0.1 * torch.randn(v.shape, generator=random, dtype=v.dtype))  # noqa: B023
        assert value(name, away) > least


def the_fewest_clips_are_those_that_teach(name: str) -> None:
    """With one clip fewer than ``ROWS`` there is no gradient, with ``ROWS`` there is one."""
    rows = library.fewest(name)
    for batch in {rows - 1, rows} - {0}:
        _, student, _ = gradients(name, inputs(batch, seed=10))
        largest = max((float(g.abs().max()) for g in student.values() if g is not None), default=0.0)
        assert (largest > 1e-6) == (batch == rows), (batch, largest)


def maps_of_the_products_networks(name: str) -> None:
    """20 × 173 and 10 × 86, in float32."""
    read, taught = terms.about(name)[1:3]
    if read is not None and taught is not None and not any(map(terms.is_map, (*read, *taught))):
        return
    given = inputs(2, student=terms.LARGE_STUDENT, teacher=terms.LARGE_TEACHER, seed=9)
    given = given.changed("student", lambda _, v: v.float()).changed("teacher", lambda _, v: v.float())
    result, student, _ = gradients(name, given)
    assert result.shape == () and bool(result.isfinite())
    assert any(gradient is not None and gradient.abs().sum() > 0 for gradient in student.values())


def a_number_that_changes_is_the_number_of_the_epoch(name: str) -> None:
    """An option that may be a ramp comes as a tensor without axes, in float64 as ``mixed_loss`` has it."""
    given = inputs(2, 8, seed=12)
    for key, option in options(name).items():
        if not option.ramps:
            continue
        beside = dict(word.split("=") for word in library.constant(name, "WITH", {}).get(key, ())[:1])
        number = float(option.default) * 0.9
        expected = value(name, given, **beside, **{key: number})
        ramped = value(name, given, **beside, **{key: torch.tensor(number, dtype=torch.float64)})
        torch.testing.assert_close(ramped, expected, rtol=1e-12, atol=1e-12, msg=lambda text: f"{key}: {text}")  # noqa: B023


def the_clips_that_count_are_a_batch_of_their_own(name: str) -> None:
    """``@rows``: with any of the words, the value of the clips that count is that of a batch of them; 0 where there is none."""
    if masks_nothing(name) or library.draws(name, 8) == 8:
        return
    given = inputs(2, 7, seed=13)
    faint = torch.tensor(
        [1, 1, 1, 1e-4, 1, 1e-4, 1], dtype=torch.float64
    )  # a length has a floor, by the mean of the batch
    for side in ("student", "teacher"):
        given = given.changed(side, lambda _, v: v * faint.view(-1, *[1] * (v.ndim - 2)))
    labels = given.labels.clone()
    unlabelled = torch.tensor([[1, 4, 6], [0, 1, 2]])
    labels.scatter_(1, unlabelled, -1)
    leaves = Inputs(given.student, given.teacher, labels, given.numbers).leaves()
    student, teacher = terms.sides(name, leaves)
    words = [{key: word} for key, option in options(name).items() for word in option.choices if key != "layer"]
    words = [word for word in words if library.reads(name, word) == library.reads(name, {})]
    for rows, chosen_options in itertools.product(("labelled", "unlabelled"), ({}, *words)):
        function = partial(losses.load(name), **chosen_options)
        values = restricted(function, rows, masked(name), student, teacher, labels)
        assert values.shape == (2,)
        for run in range(2):
            counting = (labels[run] >= 0) == (rows == "labelled")
            alone = function(*(selected(side, run, counting) for side in (student, teacher)), labels[run][counting])
            torch.testing.assert_close(values[run], alone, rtol=1e-6, atol=1e-9)
    if terms.about(name)[3] is None:  # an adapter may see the whole batch
        restricted(losses.load(name), "labelled", masked(name), student, teacher, labels).sum().backward()
        for leaf in leaves.student.values():
            assert leaf.grad is None or not bool(leaf.grad[labels < 0].any())
    nobody = restricted(losses.load(name), "labelled", masked(name), student, teacher, torch.full((2, 7), -1))
    assert nobody.tolist() == [0, 0]


def masks_nothing(name: str) -> bool:
    """Whether a loss compares clips and takes none of them: then ``@rows`` is refused in one line."""
    if library.fewest(name) == 1 or masked(name):
        return False
    with pytest.raises(InputError, match=r"compares the clips of a batch .* expected a term that is a mean over clips"):
        LossMix.parse(f"{name}@rows=labelled")
    return True


def selected(side: SimpleNamespace, run: int, clips: Tensor) -> SimpleNamespace:
    """Some clips of a run; constants of the teacher, and what is remembered of all rows, belong to no clip."""

    def of(each: Tensor, key: str) -> Tensor:
        return each[run] if key in ("constants", "memory") else each[run][clips]

    return SimpleNamespace(
        **{
            key: {name: of(one, key) for name, one in each.items()} if isinstance(each, dict) else of(each, key)
            for key, each in vars(side).items()
        }
    )


CHECKS = (
    a_value_per_run_that_is_the_runs_own,
    a_run_of_a_pack_is_the_run_alone,
    the_gradient_is_that_of_the_value,
    nothing_flows_into_the_teacher,
    hostile_inputs_stay_finite,
    the_order_of_clips_does_not_matter,
    a_student_that_equals_its_teacher_is_at_the_minimum,
    the_fewest_clips_are_those_that_teach,
    maps_of_the_products_networks,
    a_number_that_changes_is_the_number_of_the_epoch,
    the_clips_that_count_are_a_batch_of_their_own,
)
