"""What loss files keep of a teacher's maps: the same value as with the maps themselves, from less."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline import losses
from pipeline.losses import LossMix, Term, library
from pipeline.losses.adapting import adapter
from pipeline.losses.mixed import mixed_loss
from pipeline.losses.needs import accepted, needs_of
from pipeline.losses.reused import asks_head
from pipeline.losses.signature import options
from pipeline.models import Outputs

#: Of unlike sizes and numbers of stages, as of ``cnn2`` and ``resnet18``; one of the teacher's has no partner.
STUDENT = {"map1": (6, 10, 21), "map2": (4, 5, 10)}
TEACHER = {"map1": (3, 20, 43), "map2": (4, 10, 22), "map3": (5, 5, 11), "map4": (6, 3, 6)}
REDUCING = [name for name in losses.names() if library.has(name, "reduced")]

#: Numbers that each keeps of a clip: of every cell of a stage with a partner, or of each pair the map at the size of the comparison.
PAIRED = 4 * 10 * 21 + 5 * 5 * 10
CELLS = 220 + 55
KEPT = {
    "attention": CELLS,
    "pooled": CELLS,
    "boundary": PAIRED,
    "hint": PAIRED,
    "overhaul": PAIRED,
    "selectivity": 4 * 220 + 5 * 55,
    "similarity": 6 * 3 * 6,  # of the last map
    "factor": PAIRED,
    "flow": 4 * 5 * 11 + 5 * 5 * 11,  # both at the size of the smaller
    "reuse": 6 * 3 * 6,  # the last map after its ReLU, as the teacher's output layer reads it
    "review": 4 * 10 * 22 + 5 * 5 * 11,
    "variational": PAIRED,
}

#: The option with which a term that compares vectors else compares maps.
OF_MAPS = {"similarity": "@layer=maps", "reuse": "@form=simkd"}

#: What a student projects to, for the term that compares that.
PROJECTED = {"reuse": {"projected": TEACHER["map4"]}}

#: What else of a teacher tells a term which of its outputs is meant.
BESIDE = {"reuse": ("embedding",)}


def outputs(shapes: dict[str, tuple[int, ...]], seed: int) -> Outputs:
    random = torch.Generator().manual_seed(seed)
    return Outputs({name: torch.randn(2, 3, *shape, generator=random) for name, shape in shapes.items()})


@pytest.mark.parametrize("stages", ["all", "first", "last"])
@pytest.mark.parametrize("name", REDUCING)
def test_a_reduction_gives_the_value_of_the_maps(name: str, stages: str) -> None:
    if "stages" not in options(name) and stages != "all":
        return
    chosen = f"@stages={stages}" if "stages" in options(name) else OF_MAPS[name]
    mix = LossMix.parse(f"{name}{chosen},soft:0")
    (term,) = mix.terms
    shapes = STUDENT | PROJECTED.get(name, {})
    student, teacher = outputs(shapes, 1), outputs(TEACHER, 2)
    plain: dict[str, Any] = {"maps": student.maps}
    students = dict(student)
    if (module := adapter(term, "a", STUDENT, TEACHER)) is not None:
        told = [module.eval()(Outputs({key: value[run] for key, value in student.items()})) for run in range(2)]
        plain["adapted"] = {stage: torch.stack([one[stage] for one in told]) for stage in told[0]}
        students |= {f"adapted {term.key} {stage}": value for stage, value in plain["adapted"].items()}
    draws = torch.rand(2, 3, library.draws(name, 3), generator=torch.Generator().manual_seed(3))
    constants: dict[str, Tensor] = {}
    measured = None if asks_head(name) else library.constant(name, "constants", None)
    if measured is not None:
        more = accepted(measured, {"student": STUDENT, **term.arguments})
        of_runs = [
            measured(Outputs({key: value[run] for key, value in teacher.items()}), None, **more) for run in range(2)
        ]
        constants = {key: torch.stack([one[key] for one in of_runs]) for key in of_runs[0]}
    kept = needs_of([mix], shapes).keep(teacher)
    assert kept and all(key.startswith(f"reduced {name}") for key in kept)
    if stages == "all":
        assert sum(value[0, 0].numel() for value in kept.values()) == KEPT[name]
    asks = accepted(measured, term.arguments) if measured is not None else {}
    key = Term(name, 1.0, tuple(sorted(asks.items()))).key
    given = {**kept, **{f"constants {key} {stage}": value for stage, value in constants.items()}}
    others = {output: torch.zeros(2, 3, 5) for output in BESIDE.get(name, ())}
    total, _ = mixed_loss([mix, mix])(Outputs(students), Outputs(given | others), torch.zeros(2, 3), {term.key: draws})
    expected = losses.load(name)(
        SimpleNamespace(**plain, **{output: student[output] for output in PROJECTED.get(name, ())}, draws=draws),
        SimpleNamespace(maps=teacher.maps, constants=constants, **others),
        None,
        **term.arguments,
    )
    torch.testing.assert_close(total, term.weight * expected)


def test_every_file_that_keeps_less_is_here() -> None:
    assert sorted(KEPT) == REDUCING
    assert (
        needs_of([LossMix.parse("boundary")], STUDENT).keep(outputs(TEACHER, 2))["reduced boundary map2"].dtype
        == torch.bool
    )


def test_a_hint_on_vectors_keeps_no_map() -> None:
    needs = needs_of([LossMix.parse("hint@layer=embedding")], STUDENT)
    assert not needs.large and not needs.reduced and needs.outputs == ("embedding", "logits")
