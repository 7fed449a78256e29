"""The networks of factor transfer: the paraphraser, an autoencoder of a teacher's map, and the translator of the student's.

A paraphraser is trained on the frozen teacher before any student, on the maps of its training rows: it is drawn from a fixed seed and
goes through the rows in their order, on one thread of a CPU and with cuDNN's deterministic kernels, so that it is the same each time.
A process keeps the latest that it trained, by the content of the maps: students of other seeds and mixes in later packs have the same.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.single import seeded

#: Slope below zero of every ReLU.
SLOPE = 0.1

#: Learning rate of Adam, and rows of a step.
RATE, BATCH = 1e-3, 64

#: Maps are trained on over their mean size, which is this at least.
LEAST = 1e-6

#: On a CPU convolutions are half as fast again with channels last.
FAST = torch.channels_last

#: Bytes of trained encoders that a process keeps, whatever the last one takes: 65 kB each of this project's ResNet-18 (32 channels), 16 MB of
#: 512 channels.
KEPT = 64 * 2**20

Batches = Callable[[], Iterator[Tensor]]
"""Maps (rows, K, H, W), some rows after the other, anew at each call."""


def encoder(inputs: int, outputs: int) -> nn.Sequential:
    """Three 3 × 3 convolutions K → K → K' → K' with a leaky ReLU behind each."""
    return nn.Sequential(
        *(
            layer
            for few, many in ((inputs, inputs), (inputs, outputs), (outputs, outputs))
            for layer in (nn.Conv2d(few, many, 3, padding=1), nn.LeakyReLU(SLOPE))
        )
    )


def decoder(inputs: int, outputs: int) -> nn.Sequential:
    """Three transposed ones, K' → K' → K → K."""
    return nn.Sequential(
        *(
            layer
            for few, many in ((inputs, inputs), (inputs, outputs), (outputs, outputs))
            for layer in (nn.ConvTranspose2d(few, many, 3, padding=1), nn.LeakyReLU(SLOPE))
        )
    )


def factors(channels: int, share: float) -> int:
    """kK, one at least."""
    return max(1, int(share * channels))


_trained: OrderedDict[tuple[object, ...], dict[str, Tensor]] = OrderedDict()


def trained(name: str, batches: Batches, share: float, epochs: int, power: int) -> dict[str, Tensor]:
    """The weights of an encoder that is trained with its decoder: a parameter's name → tensor, detached; not to be written into.

    ``name`` decides the first weights; ``power`` 1: the mean of |rec − t| is trained on, 2: of its square.
    """
    key = (name, content(batches), share, epochs, power)
    weights = _trained.pop(key, None) or train(name, batches, share, epochs, power)
    _trained[key] = weights  # the latest that was asked for
    while len(_trained) > 1 and sum(value.nbytes for each in _trained.values() for value in each.values()) > KEPT:
        _trained.popitem(last=False)
    return dict(weights)


def content(batches: Batches) -> str:
    """SHA-256 of all maps, with the device that they are on and how they lie in memory: sums go through them in that order, and the
    last bits of a paraphraser are those of these sums."""
    state = hashlib.sha256()
    for maps in batches():
        state.update(f"{maps.device} {maps.dtype} {tuple(maps.shape)} {maps.stride()}".encode())
        state.update(maps.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return state.hexdigest()


def train(name: str, batches: Batches, share: float, epochs: int, power: int) -> dict[str, Tensor]:
    """As ``trained``, anew."""
    first = next(batches())
    channels = first.shape[-3]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeded(f"paraphraser/{name}").initial_seed())
        halves = encoder(channels, factors(channels, share)), decoder(factors(channels, share), channels)
    network = nn.Sequential(*halves).to(first.device, first.dtype)
    network.to(memory_format=FAST)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
    with torch.enable_grad(), repeatable(first.device):
        scale = first.abs().mean().clamp_min(LEAST)
        for _ in range(epochs):
            for maps in (
                part.contiguous(memory_format=FAST) for rows in batches() for part in (rows / scale).split(BATCH)
            ):
                loss = (network(maps) - maps).abs().pow(power).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    weights = {key: value.detach().contiguous() for key, value in halves[0].state_dict().items()}
    return {**weights, "0.weight": weights["0.weight"] / scale}


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """On one thread, in full precision, with the kernels that give the same bits each time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with (
            torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
            torch.autocast(device.type, enabled=False),
        ):
            yield
    finally:
        torch.set_num_threads(threads)


def encoded(maps: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
    """Each run's maps by its own encoder: (..., B, K, H, W), parameters (..., *) → (..., B, K', H, W).

    Run by run, so that its numbers do not depend on the runs beside it.
    """
    lead = maps.shape[:-4]
    runs = maps.reshape(-1, *maps.shape[-4:])
    of_runs = {
        name: value.expand(*lead, *value.shape[value.ndim - axes :]).reshape(-1, *value.shape[value.ndim - axes :])
        for name, value in weights.items()
        for axes in [4 if name.endswith("weight") else 1]
    }
    with torch.autocast(maps.device.type, enabled=False):
        each = [one(run, {name: value[number] for name, value in of_runs.items()}) for number, run in enumerate(runs)]
    return torch.stack(each).reshape(*lead, *each[0].shape)


def one(maps: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
    for layer in sorted({name.partition(".")[0] for name in weights}):
        weight, bias = (weights[f"{layer}.{part}"].to(maps.dtype) for part in ("weight", "bias"))
        maps = F.leaky_relu(F.conv2d(maps, weight, bias, padding=1), SLOPE)
    return maps
