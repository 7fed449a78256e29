"""The adapters that terms bring: parts that are trained with a student and never belong to it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from pipeline import models
from pipeline.config import InputError
from pipeline.losses import library
from pipeline.losses.mix import LossMix, Term
from pipeline.losses.needs import Needs, accepted, needs_of
from pipeline.losses.schedule import Ramp
from pipeline.losses.signature import adapts, options
from pipeline.models import Network
from pipeline.models.single import seeded

#: Name of an output → its shape without the batch: (D,) or (K, H, W).
Shapes = Mapping[str, tuple[int, ...]]


def adapters(
    mixes: Sequence[LossMix], keys: Sequence[tuple[int, int]], networks: Sequence[Network], teacher: Shapes
) -> list[dict[str, nn.Module]]:
    """Of each run: key of a term → its adapter, with first weights of (model, seed, fold, term) alone.

    ``keys``: (seed, fold) of each run. ``teacher``: the shapes of the teacher's outputs, empty without one.
    """
    if not any(mix.adapted for mix in mixes):
        return [{} for _ in mixes]
    student = shapes(networks[0])
    each = [
        {
            term.key: module
            for term in mix.terms
            if (module := adapter(term, f"{network.name}/{seed}/{fold}", student, teacher)) is not None
        }
        for mix, (seed, fold), network in zip(mixes, keys, networks, strict=True)
    ]
    for modules, network in zip(each, networks):
        require_smaller(modules, network)
    return each


def require_smaller(modules: Mapping[str, nn.Module], network: Network) -> None:
    """``InputError`` for an adapter with more weights than the student: it would learn in the student's place."""
    for key, module in modules.items():
        if (weights := models.parameters(module)) > (most := models.parameters(network)):
            raise InputError(
                f"{key}: its adapter would have {weights:,} weights, and the student {network.name} has {most:,}; "
                f"expected no more than the student: {remedy(key.partition('@')[0])}"
            )


def remedy(name: str) -> str:
    """What makes the adapter of a loss smaller."""
    if "layer" in (known := options(name)):
        return "compare a narrower layer, for example @layer=hidden"
    other = "choose a term without an adapter, for example attention"
    return f"compare other stages, for example {name}@stages=first, or {other}" if "stages" in known else other


def adapter(term: Term, draw: str, student: Shapes, teacher: Shapes) -> nn.Module | None:
    """The adapter of a term, drawn from a generator of ``draw`` and the term's key; None where it has none."""
    make: Any = library.constant(term.name, "adapter", None)
    if make is None or not adapts(term.name, term.arguments):
        return None
    taken = accepted(make, term.arguments)
    if changing := [name for name, value in taken.items() if isinstance(value, Ramp)]:
        raise InputError(
            f"{term.key}: {changing[0]} shapes the adapter, which is made once; expected a number, no ramp"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeded(f"{draw}/{term.key}").initial_seed())
        module: nn.Module | None = make(student, teacher, **taken)
    return module


def listens(adapter: nn.Module) -> bool:
    """Whether an adapter takes what the teacher says, as a second argument of its ``forward``."""
    return len(inspect.signature(adapter.forward).parameters) > 1


def memories(
    mix: LossMix, key: tuple[int, int], network: Network, labels: torch.Tensor, classes: int
) -> dict[str, torch.Tensor]:
    """``KEY NAME`` → what the terms of one run remember before its first step, drawn of (model, seed, fold, term) alone.

    ``key``: (seed, fold); ``labels`` (n,): of its training rows as the run knows them, in the order of the rows.
    """
    arrays: dict[str, torch.Tensor] = {}
    for term in mix.terms:
        make: Any = library.constant(term.name, "memory", None)
        if make is not None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seeded(f"{network.name}/{key[0]}/{key[1]}/memory {term.key}").initial_seed())
                arrays |= {f"{term.key} {name}": value for name, value in make(labels, classes).items()}
    return arrays


def needs_with(mixes: Sequence[LossMix], student: Callable[[], Network]) -> Needs:
    """What the mixes need of teachers, with the shapes of their student's outputs where a term may ask for them."""
    needs = needs_of(mixes)
    return needs_of(mixes, shapes(student())) if needs.reduced or needs.constants else needs


@torch.no_grad()
def shapes(network: Network) -> dict[str, tuple[int, ...]]:
    """The shapes of a network's outputs. Its state is left as it was."""
    training = network.training
    outputs = network.eval()(torch.zeros(1, *network.shape, dtype=network.mean.dtype, device=network.mean.device))
    network.train(training)
    return {name: tuple(value.shape[1:]) for name, value in outputs.items()}
