"""Dropout in teachers (Arani et al. 2021): a teacher that varies teaches its uncertainty.

Inverted dropout, element by element: a value is 0 with the chance p, else it is divided by 1 − p. Batch norm stays in
evaluation mode. Masks are of (seed, fold, epoch, step) and their place alone: the same in any pack, and after a resume.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.config import InputError, TrainSettings
from pipeline.models import Network
from pipeline.models.based import Based
from pipeline.models.places import Place
from pipeline.training.draws import uniform

#: Streams of a step's key: one for each place of a teacher, and the places of so many for each member of an ensemble.
PLACES = 1 << 10

#: The stream of a mask before the output layer of a stored teacher; ``INPUT`` that of noise on inputs (``step``).
OUTPUT, INPUT = PLACES - 1, PLACES - 2


def dropped(x: Tensor, rate: float, keys: Tensor, stream: int) -> Tensor:
    """x (n · B, ...) with a mask for each of the n runs of ``keys`` (n,)."""
    kept = uniform(keys, x.numel() // len(keys), stream).view(x.shape) >= rate
    return torch.where(kept, x / (1 - rate), 0.0)


class Mask(nn.Module):
    """In the place of a ``Place``."""

    def __init__(self, rate: float, keys: Tensor, stream: int) -> None:
        super().__init__()
        self.rate, self.stream = rate, stream
        self.keys = keys  # no buffer: who steps writes into it

    def forward(self, x: Tensor) -> Tensor:
        return dropped(x, self.rate, self.keys, self.stream)


def places_of(network: Network) -> list[str]:
    """The paths of a teacher's places, in order; beside a student whose misses are learned (``Based``) not that student's."""
    start = "teacher." if isinstance(network, Based) else ""
    return [path for path, module in network.named_modules() if isinstance(module, Place) and path.startswith(start)]


def require_places(network: Network) -> None:
    """``InputError`` for a network in which nothing says where dropout may act."""
    if not places_of(network):
        raise InputError(
            f"teacher_dropout: {network.name} has no module Place (pipeline/models/places.py) where it may act; expected one "
            "behind each stage and the last before the output layer"
        )


@dataclass(frozen=True)
class Dropout:
    """How teachers drop: the share, and whether before the output layer alone."""

    rate: float
    output: bool = False


def dropout_of(settings: TrainSettings) -> Dropout | None:
    """What the settings ask for; None where nothing is dropped."""
    if not settings.teacher_dropout:
        return None
    return Dropout(settings.teacher_dropout, settings.teacher_dropout_at == "output")


def before_output(settings: TrainSettings) -> bool:
    """Whether teachers drop before their output layer alone."""
    dropout = dropout_of(settings)
    return dropout is not None and dropout.output


def with_masks(network: Network, dropout: Dropout, keys: Tensor, member: int = 0) -> Network:
    """The network, on the same weights, with masks in its places; ``keys`` (n,): of the runs whose batches it is given."""
    require_places(network)
    shared = [*network.parameters(), *network.buffers()]
    twin = copy.deepcopy(network, {id(tensor): tensor for tensor in shared})
    places = places_of(twin)
    for number, path in enumerate(places):
        if number == len(places) - 1 or not dropout.output:
            twin.set_submodule(path, Mask(dropout.rate, keys, member * PLACES + number))
    return twin.eval()


@dataclass(frozen=True)
class OutputLayers:
    """The output layers of G teachers, for logits with dropout from the stored layer before them."""

    weight: Tensor
    """(G, C, D)."""
    bias: Tensor
    """(G, C)."""
    hidden: Tensor
    """(G, rows, D): what each teacher's last layer but one says of every row."""

    def to(self, device: torch.device) -> OutputLayers:
        return OutputLayers(self.weight.to(device), self.bias.to(device), self.hidden.to(device))

    @torch.no_grad()
    def logits(self, teachers: Tensor, rows: Tensor, rate: float, keys: Tensor) -> Tensor:
        """(R, B, C) of the ``teachers`` (R, 1) of the runs, whose batches are ``rows`` (R, B) and ``keys`` (R,)."""
        hidden = self.hidden[teachers, rows]
        hidden = dropped(hidden.flatten(0, 1), rate, keys, OUTPUT).view(hidden.shape)
        index = teachers[:, 0]
        return torch.stack([F.linear(*one) for one in zip(hidden, self.weight[index], self.bias[index])])


def output_layers(teachers: Sequence[Sequence[Network]], hidden: Tensor) -> OutputLayers:
    """``InputError`` for an ensemble, and where what a network says is no linear function of its ``hidden`` (G, rows, D)."""
    layers: list[tuple[Tensor, Tensor]] = []
    for members in teachers:
        layer = output_layer(members)
        if layer is None:
            network = members[0].teacher if isinstance(members[0], Based) else members[0]
            whose = f"an ensemble of {len(members)}" if len(members) > 1 else network.name
            raise InputError(
                f"teacher_dropout_at = 'output': {whose} has no single linear output layer; expected a teacher such as "
                "resnet18, or 'stages'"
            )
        layers.append(layer)
    if len({weight.shape for weight, _ in layers}) > 1:
        raise InputError(
            "teacher_dropout_at = 'output': teachers of unlike output layers in one pack; expected one network"
        )
    weights, biases = (torch.stack(part) for part in zip(*layers))
    return OutputLayers(weights, biases, hidden)


def output_layer(members: Sequence[Network]) -> tuple[Tensor, Tensor] | None:
    """The output layer of a teacher, weights (C, D) and bias (C,): what it makes of its ``hidden``; None of an ensemble, and where
    its logits are no linear function of it."""
    network = members[0].teacher if isinstance(members[0], Based) else members[0]
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if len(members) > 1 or not linear or not is_output(network, linear[-1]):
        return None
    weight: Tensor = linear[-1].weight.detach()
    bias = linear[-1].bias
    return weight, weight.new_zeros(len(weight)) if bias is None else bias.detach()


@torch.no_grad()
def is_output(network: Network, layer: nn.Linear) -> bool:
    """Whether a network's logits are what a layer makes of its ``hidden``."""
    noise = torch.randn(4, *network.shape, generator=torch.Generator().manual_seed(0))
    outputs = network(network.mean + network.std * noise.to(network.mean))
    shape = (network.classes, outputs.hidden.shape[-1])
    if tuple(layer.weight.shape) != shape:
        return False
    return torch.allclose(F.linear(outputs.hidden, layer.weight, layer.bias), outputs.logits, rtol=1e-4, atol=1e-5)
