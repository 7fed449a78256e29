"""Trainings that begin with the weights of another run, and networks that have their teacher's output layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from pipeline import models
from pipeline.config import InputError, TrainSettings
from pipeline.losses.needs import CONSTANTS, about
from pipeline.losses.reused import fetching
from pipeline.models import Network
from pipeline.models.saved import load_state
from pipeline.training.task import Run


def begun(
    samples: Tensor,
    runs: Sequence[Run],
    settings: TrainSettings,
    classes: int,
    statistics: Sequence[tuple[Tensor, Tensor]],
) -> list[Network]:
    """The runs' networks with their first weights, drawn or begun with, and their normalisation."""
    shape, dtype = samples.shape[1:], torch.promote_types(samples.dtype, torch.float32)
    networks = []
    for run, (mean, std) in zip(runs, statistics, strict=True):
        drawn = {"seed": run.weights_seed, "fold": run.fold}
        network = models.network(settings.model, shape, classes, **drawn, dropout=settings.dropout)
        network.to(dtype)  # first: the statistics of float64 samples keep their digits
        begin(network, run)
        network.mean.copy_(mean)
        network.std.copy_(std)
        networks.append(network)
    return networks


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


@torch.no_grad()
def take_output_layers(networks: Sequence[Network], runs: Sequence[Run], constants: Mapping[str, Tensor]) -> None:
    """Give networks that answer by their teacher's output layer that of each run's own teacher, over what they were drawn or begun with.

    ``constants``: of the runs' terms, each (R, ...), as ``lessons`` has them. ``InputError`` for a layer of another width or of other classes.
    """
    name = models.reuses(networks[0].name)
    for number, (network, run) in enumerate(zip(networks, runs, strict=True) if name else ()):
        term = fetching(run.mix)
        assert term is not None  # ``require_fetched``
        key = f"{CONSTANTS} {about(term, CONSTANTS).key}"
        layer = network.body.get_submodule(name)
        for part in ("weight", "bias"):
            ours, theirs = layer.get_parameter(part), constants[f"{key} {part}"][number]
            if ours.shape != theirs.shape:
                raise InputError(
                    f"{network.name} has a teacher's output layer of {part} {tuple(ours.shape)}, and its teacher's is {tuple(theirs.shape)}; "
                    "expected a teacher of the same classes whose output layer reads as many numbers, such as resnet18"
                )
            ours.copy_(theirs)
