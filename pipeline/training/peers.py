"""Runs that learn from each other, with no teacher before them: what each says in a step is what its peer hears in that very step.

Deep mutual learning (Zhang et al., CVPR 2018): L_k = ce + KL(p_l ‖ p_k), p_l detached. Both forward passes come first, then both
losses, so that neither has learned from the step yet. No gradient crosses: a peer's outputs are constants.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.config import InputError
from pipeline.losses.learner import Learner
from pipeline.losses.needs import Needs, teacher_reads
from pipeline.models import Outputs
from pipeline.plurals import many
from pipeline.training.task import Run


class Peers:
    """Of the R runs of a pack: whom each hears, and what is kept of it."""

    def __init__(self, runs: Sequence[Run], needs: Needs, device: torch.device) -> None:
        self.needs = needs
        #: Of each run the place of its peer in the pack.
        self.places = places(runs)
        self.index = torch.tensor(self.places, device=device)

    @property
    def reads(self) -> tuple[str, ...] | None:
        """The outputs that a network has to keep for its peer; None: it may be any."""
        if self.needs.vague:
            return None
        return (*self.needs.outputs, *(name for term in self.needs.reduced for name in teacher_reads(term) or ()))

    def batch(self, outputs: Outputs) -> Outputs:
        """What the students' outputs (R, B, ...) are to their peers: those of the other run, without a gradient."""
        told = self.kept(Outputs({name: value.detach() for name, value in outputs.items()}))
        return Outputs({name: value.index_select(0, self.index) for name, value in told.items()})

    def says(self, learner: Learner, run: int, x: Tensor) -> Outputs:
        """What the peer of a run says of a batch (B, C, H, W) in evaluation mode."""
        with torch.no_grad():
            outputs: Outputs = learner.stacked.single(self.places[run]).eval()(x)
        return self.kept(outputs)

    def kept(self, outputs: Outputs) -> Outputs:
        return self.needs.keep(self.needs.raw(outputs))


def places(runs: Sequence[Run]) -> list[int]:
    """Of each run the place of its peer. ``InputError`` where a run has none, or several; a peer has the same batches."""
    together = []
    for place, run in enumerate(runs):
        key = (run.cohort, *run.batches())
        others = [at for at, other in enumerate(runs) if at != place and (other.cohort, *other.batches()) == key]
        if not run.cohort or len(others) != 1 or runs[others[0]].member == run.member:
            raise InputError(
                f"fold {run.fold}, seed {run.seed}: {many(len(others), 'run')} beside it of the cohort {run.cohort!r} and the same batches; expected "
                "one other member in the same pack: students that learn from each other are trained in pairs"
            )
        together.append(others[0])
    return together


def stopped(teaching: object, failures: Sequence[str | None]) -> list[str | None]:
    """Why runs stop, with those whose peer stopped: nobody is there any more to learn from."""
    if not isinstance(teaching, Peers):
        return list(failures)
    peers = [failures[place] for place in teaching.places]
    return [own or (peer and f"its peer stopped: {peer}") for own, peer in zip(failures, peers)]


def require_no_listener(teaching: object, learner: Learner) -> None:
    """``InputError`` where an adapter has a side for what teachers say: it is asked before the peer has spoken."""
    if isinstance(teaching, Peers) and learner.listens:
        raise InputError(
            "an adapter that learns from what a teacher says before the step, and peers speak in it; expected other terms, such as "
            "hinton:1@T=1"
        )
