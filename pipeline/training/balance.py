"""How strongly terms pull at a network: the norms of their gradients, and what a step of each mix takes."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline import models
from pipeline.losses.mixing import mixed_inputs
from pipeline.training.step import Pack, batch, mixing_of, step, taught, threads, with_noise
from pipeline.training.two_views import both_views


def gradient_norm(pack: Pack, steps: int) -> float:
    """The Euclidean norm of ∂(total loss)/∂(weights of the network), mean over the first ``steps`` batches of the epoch.

    Of a pack of one run, at the weights that it has: no step is taken. Weights of adapters are no part of the network.
    """
    size = models.parameters(pack.learner.stacked) - sum(
        parameter.numel() for name, parameter in pack.learner.stacked.named_parameters() if ".adapters." in f".{name}"
    )
    norms: list[Tensor] = []

    def keep(_runs: slice, gradients: Tensor) -> None:
        norms.append(gradients[0, :size].double().norm())

    def pull(number: int) -> None:
        tables = pack.tables
        rows, keys = tables.rows[number], None if tables.keys is None else tables.keys[number]
        labels = pack.truth(rows) if tables.labels is None else tables.labels[number]
        mixing = mixing_of(pack, torch.tensor([number], device=rows.device))

        def inputs(runs: slice) -> Tensor:
            x = mixed_inputs(batch(pack, rows[runs], None), mixing, runs)
            if not pack.loss.two_views:
                return x
            changes = None if tables.draws is None else tables.draws[number][runs]
            return torch.cat([x, batch(pack, rows[runs], changes, runs)])

        teacher = taught(pack, rows, inputs, keys=keys)
        outputs = pack.learner.forward(lambda runs: with_noise(pack, inputs(runs), runs, keys), None, teacher)
        draws = {key: table[number] for key, table in pack.draws.items()}
        first, second = both_views(pack.loss, outputs, teacher)
        total, _ = pack.loss(*first, labels, draws, mixing, pack.remembered(rows), second)
        gradients = torch.autograd.grad(total.sum(), list(outputs.values()), allow_unused=True)
        pack.learner.backward(dict(zip(outputs, gradients)), keep)

    with threads(pack.learner.layout, 1):
        for number in range(min(steps, len(pack.tables.rows))):
            pull(number)
    return float(torch.stack(norms).mean())


def step_seconds(packs: Sequence[Pack], steps: int) -> list[float]:
    """Median seconds of a step of each pack, on one thread; they take turns, so that a busy machine slows all of them alike."""
    seconds: list[list[float]] = [[] for _ in packs]
    with threads("loop", 1):
        for _ in range(steps):
            for pack, taken in zip(packs, seconds):
                pack.counter.fill_(0)
                started = time.perf_counter()
                step(pack, masked=False)
                taken.append(time.perf_counter() - started)
    return [sorted(taken)[len(taken) // 2] for taken in seconds]
