"""Inputs for any loss of the folder, made from what its file says alone, and the loss of them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from pipeline import losses
from pipeline.losses import Outputs, library
from pipeline.losses.adapting import listens
from pipeline.losses.mixed import Memory
from pipeline.losses.needs import CONSTANTS, REDUCED, reductions
from pipeline.models.outputs import chosen, stage_maps

#: Name of an output → its shape per clip.
Shapes = Mapping[str, tuple[int, ...]]

CLASSES = 6
VECTORS: Shapes = {"embedding": (7,), "hidden": (3,), "logits": (CLASSES,)}
#: What the output layer of some networks says besides.
ANGULAR: Shapes = {"cosines": (CLASSES,)}
#: What else a loss may read of a teacher: members of an ensemble, and the student that another one assists.
OF_TEACHERS: Shapes = {"members": (3, CLASSES), "base": (5,)}

#: Widths differ, no map is square, and stages differ by one column, as those of the product's networks do.
STUDENT: Shapes = {**VECTORS, **ANGULAR, "map1": (3, 4, 6), "map2": (2, 2, 3)}
TEACHER: Shapes = {
    **VECTORS,
    "embedding": (5,),
    "map1": (2, 8, 13),
    "map2": (3, 4, 7),
    "map3": (2, 2, 4),
    **OF_TEACHERS,
}

#: The sizes of ``cnn2`` and of ``resnet18`` at (5, 20, 173), with few channels.
LARGE_STUDENT: Shapes = {**VECTORS, **ANGULAR, "map1": (3, 10, 86), "map2": (2, 5, 43)}
LARGE_TEACHER: Shapes = {**TEACHER, "map1": (2, 20, 173), "map2": (3, 10, 87), "map3": (2, 5, 44), "map4": (4, 3, 22)}


@dataclass(frozen=True)
class Inputs:
    """What a loss is given; ``lead`` axes come before a clip's, the last of them the batch."""

    student: dict[str, Tensor]
    teacher: dict[str, Tensor]
    labels: Tensor
    numbers: Tensor
    """(..., B, 64) uniform in [0, 1): as many of them as the loss draws."""

    @property
    def lead(self) -> tuple[int, ...]:
        return tuple(self.labels.shape)

    def each(self, function: Callable[[Tensor], Tensor]) -> Inputs:
        """With every tensor changed."""
        student, teacher = ({k: function(v) for k, v in side.items()} for side in (self.student, self.teacher))
        return Inputs(student, teacher, function(self.labels), function(self.numbers))

    def changed(self, who: str, function: Callable[[str, Tensor], Tensor]) -> Inputs:
        """With the outputs of ``who`` ("student", "teacher") changed, by name."""
        return replace(self, **{who: {name: function(name, value) for name, value in getattr(self, who).items()}})

    def leaves(self) -> Inputs:
        """With outputs that are asked for their gradient."""
        both = (
            {name: value.detach().clone().requires_grad_() for name, value in side.items()}
            for side in (self.student, self.teacher)
        )
        return Inputs(*both, self.labels, self.numbers)


def inputs(*lead: int, student: Shapes = STUDENT, teacher: Shapes = TEACHER, seed: int = 0) -> Inputs:
    """Generic ones, in float64. Of three clips the first two share a class and the third does not."""
    random = torch.Generator().manual_seed(seed)
    sides = [
        {name: torch.randn(*lead, *shape, generator=random, dtype=torch.float64) for name, shape in shapes.items()}
        for shapes in (student, teacher)
    ]
    sides[1]["own"] = sides[1]["logits"]  # a teacher says the same of its own classes, whichever these are
    labels = (torch.arange(lead[-1]) // 2 % CLASSES).expand(lead)
    return Inputs(*sides, labels, torch.rand(*lead, 64, generator=random, dtype=torch.float64))


@functools.cache
def about(name: str) -> tuple[Any, ...]:
    """What a file says: its function, the outputs that it reads of both, its adapter and what it keeps of a map."""
    return (
        losses.load(name),
        library.reads(name, {}),
        library.teacher_reads(name),
        library.constant(name, "adapter", None) if has_adapter(name) else None,
        library.constant(name, "reduced", None),
    )


def has_adapter(name: str) -> bool:
    """Whether it brings one with its options as they are."""
    make = library.constant(name, "adapter", None)
    return make is not None and make(STUDENT, TEACHER) is not None


@functools.cache
def adapter(name: str, student: tuple[Any, ...], teacher: tuple[Any, ...]) -> nn.Module:
    """With the same weights in every test, in float64."""
    make = library.constant(name, "adapter", None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module: nn.Module = make(dict(student), dict(teacher)).double()
    return module


def value(name: str, given: Inputs, **options: Any) -> Tensor:
    """The loss of what its file says that it reads, and nothing else."""
    result: Tensor = losses.load(name)(*sides(name, given), given.labels, **options)
    return result


def sides(name: str, given: Inputs) -> tuple[SimpleNamespace, SimpleNamespace]:
    """What a loss sees of student and teacher."""
    _, read, taught, make, reduced = about(name)
    student, teacher = view(given.student, read), view(given.teacher, taught)
    teacher |= kept_of_teacher(name, given)
    if reduced is not None:  # a pack keeps that alone
        teacher = {key: value for key, value in teacher.items() if key not in ("maps", *stage_maps(teacher))}
    if make is not None:
        student["adapted"] = adapted(name, given)
    if each := library.draws(name, given.lead[-1]):
        student["draws"] = given.numbers[..., :each]
    if library.has(name, "memory"):
        student |= remembered(name, given)
    return SimpleNamespace(**student), SimpleNamespace(**teacher)


def kept_of_teacher(name: str, given: Inputs) -> dict[str, dict[str, Tensor]]:
    """What the file keeps of a teacher's maps, and the constants that it measures, by the word under which it sees them."""
    kept: dict[str, dict[str, Tensor]] = {}
    if (reduced := about(name)[4]) is not None:
        maps = stage_maps(view(given.teacher, about(name)[2]))
        shapes = {k: tuple(v.shape[len(given.lead) :]) for k, v in given.student.items()}
        kept[REDUCED] = reductions(reduced, maps, shapes, {})
    if library.constant(name, CONSTANTS, None) is not None:
        kept[CONSTANTS] = constants(name, given)
    return kept


def remembered(name: str, given: Inputs) -> dict[str, Any]:
    """What it remembers of twelve rows of each run before the first step, and that the batch is the first of these."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        arrays = library.constant(name, "memory", None)(torch.arange(12) // 2, CLASSES)
    places = torch.arange(given.lead[-1], device=given.labels.device)
    return {
        "memory": {key: value.expand(*given.lead[:-1], *value.shape) for key, value in arrays.items()},
        "index": places.expand(given.lead),
    }


def packed(name: str, given: Inputs, runs: list[int]) -> tuple[Outputs, Outputs, dict[str, Tensor], Memory | None]:
    """The same as a pack of runs has it: student, teacher, draws of ``runs`` and memory, each thing under its term's name."""
    student, teacher, draws = dict(given.student), dict(given.teacher), {}
    if about(name)[3] is not None:
        told = adapted(name, given)
        several = told if isinstance(told, dict) else {"": told}
        student |= {f"adapted {name} {part}".rstrip(): value for part, value in several.items()}
    for word, values in kept_of_teacher(name, given).items():
        teacher |= {f"{word} {name} {part}": value for part, value in values.items()}
    if each := library.draws(name, given.lead[-1]):
        draws[name] = given.numbers[runs, :, :each]
    memory = None
    if library.has(name, "memory"):
        kept = remembered(name, given)
        memory = Memory({f"{name} {key}": value for key, value in kept["memory"].items()}, kept["index"])
    return Outputs(student), Outputs(teacher), draws, memory


def view(outputs: Mapping[str, Tensor], read: tuple[str, ...] | None) -> dict[str, Any]:
    """What a loss sees of a network; all where it does not say what it reads."""
    names = tuple(outputs) if read is None else chosen(read, outputs)
    seen: dict[str, Any] = {name: outputs[name] for name in names}
    return seen | {"maps": stage_maps(seen)} if read is None or "maps" in read else seen


def adapted(name: str, given: Inputs) -> Any:
    """What the adapter says of each run, computed in float64 and given back in the student's type."""
    lead, dtype = len(given.lead), given.student["logits"].dtype
    shapes = [tuple((k, tuple(v.shape[lead:])) for k, v in side.items()) for side in (given.student, given.teacher)]
    module = adapter(name, *shapes)
    assert module is not None
    student, teacher = (
        {k: v.double().flatten(0, lead - 2) if lead > 1 else v.double()[None] for k, v in side.items()}
        for side in (given.student, given.teacher if listens(module) else {})
    )
    sides = [[Outputs({k: v[run] for k, v in student.items()})] for run in range(len(student["logits"]))]
    for run, side in enumerate(sides if teacher else ()):
        side.append(Outputs({k: v[run].detach() for k, v in teacher.items()}))
    runs = [module(*side) for side in sides]
    return together(runs, given.lead[:-1], dtype)


def constants(name: str, given: Inputs) -> dict[str, Tensor]:
    """What the file measures of each run's teacher, as if the batch were all of its training rows; once of the same teacher."""
    lead, function = len(given.lead), library.constant(name, "constants", None)
    flat = {k: v.detach().flatten(0, lead - 2) if lead > 1 else v.detach()[None] for k, v in given.teacher.items()}
    labels = given.labels.reshape(-1, given.lead[-1])
    shapes = {k: tuple(v.shape[lead:]) for k, v in given.student.items()}
    width = given.teacher["embedding"].shape[-1]
    weight = torch.arange(CLASSES * width, dtype=torch.float64).view(CLASSES, width).sin()
    offered = {"student": shapes, "head": (weight, weight[:, 0])}
    asked = {key: value for key, value in offered.items() if key in inspect.signature(function).parameters}
    runs = []
    for run, kept in enumerate(labels):
        outputs = Outputs({k: v[run] for k, v in flat.items()})
        key = (
            name,
            str(shapes),
            outputs.logits.dtype,
            *(v.double().numpy().tobytes() for v in (*outputs.values(), kept)),
        )
        if key not in MEASURED:
            MEASURED[key] = function(outputs, kept, **asked)
        runs.append(MEASURED[key])
    return {k: torch.stack([run[k] for run in runs]).reshape(*given.lead[:-1], *v.shape) for k, v in runs[0].items()}


#: What ``constants`` of files gave: one may train a network.
MEASURED: dict[tuple[Any, ...], dict[str, Tensor]] = {}


def together(runs: list[Any], axes: tuple[int, ...], dtype: torch.dtype) -> Any:
    if isinstance(runs[0], Mapping):
        return {name: together([run[name] for run in runs], axes, dtype) for name in runs[0]}
    return (torch.stack(runs).unflatten(0, axes) if axes else runs[0]).to(dtype)


def is_map(name: str) -> bool:
    return name.startswith("map")


#: They promise more than a file must.
PAPERS = ("angle", "area", "ce", "distance", "hinton", "soft")


def mapped(outputs: SimpleNamespace, function: Any) -> SimpleNamespace:
    return SimpleNamespace(**{k: function(v) for k, v in vars(outputs).items()})
