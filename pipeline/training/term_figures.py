"""What loss files say of a run at its end, besides the loss: ``figures`` of the training rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from pipeline.losses import Term, library
from pipeline.losses.learner import Adapted
from pipeline.losses.needs import accepted
from pipeline.losses.schedule import Ramp, value_at
from pipeline.models import Outputs
from pipeline.training.inference import CHUNK
from pipeline.training.live import Lesson
from pipeline.training.peers import Peers
from pipeline.training.step import Pack
from pipeline.training.task import Run

#: Of a term with such figures: name → number.
Figures = dict[str, float]


@torch.no_grad()
def term_figures(pack: Pack, run: Run, r: int) -> dict[str, Figures]:
    """Key of each term of ``run``, the pack's run number ``r``, whose file has ``figures`` → what it gives, of the weights as they are now."""
    told = {}
    for term in run.mix.terms:
        if library.has(term.name, "figures"):
            figures: Any = library.module(term.name).figures  # type: ignore[attr-defined]
            options = accepted(figures, last(term, pack.settings.epochs))
            told[term.key] = {
                name: float(value) for name, value in figures(sides(pack, run, r, term), **options).items()
            }
    return told


def last(term: Term, epochs: int) -> dict[str, Any]:
    """A term's options as they are in the last epoch."""
    return {
        name: value_at(value, epochs - 1, epochs) if isinstance(value, Ramp) else value
        for name, value in term.arguments.items()
    }


def sides(pack: Pack, run: Run, r: int, term: Term) -> Iterator[tuple[Any, Any]]:
    """What the student, in evaluation mode and with its adapters, and its teacher say of the training rows, as the term sees
    it: some rows after the other, without the runs axis."""
    network = pack.learner.stacked.single(r).eval()
    constants = {name: values[r] for name, values in pack.constants.items()}
    for part in torch.as_tensor(run.task.train, device=pack.samples.device).split(CHUNK):
        x = pack.samples.index_select(0, part)
        teacher = None
        if isinstance(pack.teaching, Lesson):
            teacher = pack.teaching.live.kept(run.teacher, x, pack.teaching.needs)
        elif isinstance(pack.teaching, Peers):
            teacher = pack.teaching.says(pack.learner, r, x)
        elif pack.teaching is not None:
            teacher = pack.teaching.rows(run.teacher, part)
        student = network(x)
        if isinstance(network.body, Adapted):
            student = network.body.adapted(student, teacher)
        taught = None if teacher is None else Outputs({**teacher, **constants})
        yield pack.loss.sides(term.key, student, taught)
