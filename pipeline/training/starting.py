"""Trainings that begin with the weights of another run."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from pipeline.config import InputError
from pipeline.models import Network
from pipeline.models.saved import load_state
from pipeline.training.task import Run


def begin(network: Network, run: Run) -> None:
    """Give a network the weights that its run starts with. ``InputError`` for those of another network."""
    if run.start is None:
        return
    try:
        load_state(network, run.start.state)
    except (RuntimeError, KeyError) as error:  # names or shapes of tensors
        raise InputError(
            f"fold {run.fold}, seed {run.seed}: it starts with weights that are not those of a {network.name} of this shape "
            f"({error}); expected a run of the same network"
        ) from None


@torch.no_grad()
def go_on(adapters: Mapping[str, nn.Module], run: Run) -> None:
    """Adapters of the run that this one starts from are gone on with where term, names and shapes agree; others are drawn."""
    for key, module in adapters.items() if run.start else ():
        tensors = module.state_dict()
        kept = {name: run.start.adapters.get(f"{key} {name}") for name in tensors}  # type: ignore[union-attr]
        if all(one is not None and one.shape == (1, *tensors[name].shape) for name, one in kept.items()):
            module.load_state_dict({name: one[0] for name, one in kept.items() if one is not None})
