"""How much noise each block of a clip's mel plane bears before a network's answer changes (Ma et al. 2019; Cheng et al. 2020).

For a network, one of its outputs f, and a clip x: x' = x + std · σ ε, ε standard normal, one σ per block of one bin and some frames, std the
deviation by which the network standardises the bin. Sought is the σ that disturbs f least at a given total,

    min over σ  E_ε mean (relu f(x') − relu f(x))² / δ² − λ · mean_i H_i,   H_i = ln σ_i + ½ ln 2πe,

δ² the same error at the first σ. All networks are compared at one total, mean H = −2.8, so only *where* the noise lies differs.

Ours is how σ is sought. Where the objective is least at a held total, more noise costs the same in every block: with g_i = ∂E/∂ln σ_i, all g_i
are equal. With f linear E = Σ a_i σ_i², so g_i = 2 a_i σ_i² and ∂g_i/∂ln σ_i = 2 g_i, and near the answer Newton's step is
ln σ_i ← ln σ_i − ½ (g_i / ḡ − 1), ḡ the mean over the blocks that are not at a bound. Each step draws its noise anew and goes 0.4 of that way, the total is restored, and the answer is the mean
of ln σ over the last three quarters of the steps (Polyak and Juditsky 1992), in which the noise of the single steps goes out. After 50
steps it is as near the answer as Adam on ln σ is after 200 (docs/explain.md).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.config import InputError
from pipeline.figures.explained.concepts import UNIT
from pipeline.figures.explained.foreground import BLOCK
from pipeline.models import Network


class Search(NamedTuple):
    """How σ is sought."""

    steps: int = 50
    copies: int = 16
    """Noisy copies of a clip in a step."""
    rate: float = 0.4
    """Of Newton's step."""
    total: float = -2.8
    """Mean of H over a clip's blocks, in nats."""
    least: float = 0.001
    most: float = 1.0
    """Bounds of σ, in standard deviations of the bin."""
    first: float = 0.01
    """The σ at which δ² is measured."""


USUAL = Search()

#: Between which g_i / ḡ is taken: one that is far off comes from the noise of a single step, or is better followed in several.
BOUNDS = -1.0, 3.0


class Discarded(NamedTuple):
    """What a network lets go of some clips."""

    entropies: np.ndarray
    """H (clips, bins, blocks) float32, in nats."""
    error: np.ndarray
    """δ² (clips,) float64; 0: the output does not move at all, and H means nothing."""


def spread(sigma: Tensor, frames: int, block: int = BLOCK) -> Tensor:
    """(clips, bins, blocks) → (clips, bins, frames): each block's value in all its frames, the last one's in fewer."""
    return sigma.repeat_interleave(block, -1)[..., :frames]


def noise(clip: str, step: int, copies: int, bins: int, frames: int) -> Tensor:
    """ε (copies, bins, frames) of a clip and step: the same for every network and in any order."""
    seed = int.from_bytes(hashlib.sha256(f"explain {clip} {step}".encode()).digest()[:8]) >> 1
    return torch.randn((copies, bins, frames), generator=torch.Generator().manual_seed(seed))


def reader(network: Network, layer: str) -> Callable[[Tensor], Tensor]:
    """x → relu of an output of the network, (clips, ...). ``InputError`` where it has no such output."""

    def read(x: Tensor) -> Tensor:
        outputs = network(x)
        if layer not in outputs:
            there = ", ".join(name for name in outputs if name != "logits")
            raise InputError(f"--layer {layer}: {network.name} has no such output; expected one of {there}")
        return F.relu(outputs[layer])

    return read


def discarded(
    network: Network,
    values: Tensor,
    clips: Sequence[str],
    plane: int,
    counting: np.ndarray,
    layer: str = "embedding",
    search: Search = USUAL,
) -> Discarded:
    """σ of each block of the plane ``values[:, plane]`` of clips (clips, features, bins, frames), as H; and δ².

    ``counting`` (clips, bins, blocks): the blocks that are more than padding; the others stay as they are, and have no part in the
    total (their H is 0). The network is frozen and in evaluation mode. A clip's σ depends on no other clip.
    """
    network = network.eval().requires_grad_(False)
    read = reader(network, layer)
    parts = [
        of_clip(network, read, x, clip, plane, torch.from_numpy(mask.copy()), search)
        for x, clip, mask in zip(values.split(1), clips, counting, strict=True)
    ]
    return Discarded(np.stack([entropies for entropies, _ in parts]), np.array([error for _, error in parts]))


def of_clip(
    network: Network,
    read: Callable[[Tensor], Tensor],
    x: Tensor,
    clip: str,
    plane: int,
    mask: Tensor,
    search: Search,
) -> tuple[np.ndarray, float]:
    """Of one clip (1, features, bins, frames) with the blocks ``mask`` (bins, blocks): H (bins, blocks), δ²."""
    error = disturbing(network, read, x, clip, plane, mask, search.copies)
    with torch.no_grad():
        first_error = error(torch.full(mask.shape, math.log(search.first)), 0)
    if not first_error > 0:
        return np.zeros(tuple(mask.shape), dtype=np.float32), 0.0
    log_sigma = sought(lambda log_sigma, step: error(log_sigma, step) / first_error, mask, search)
    return torch.where(mask, log_sigma + UNIT, 0).numpy().astype(np.float32), float(first_error)


def disturbing(
    network: Network, read: Callable[[Tensor], Tensor], x: Tensor, clip: str, plane: int, mask: Tensor, copies: int
) -> Callable[[Tensor, int], Tensor]:
    """(ln σ (bins, blocks), step) → the mean squared error of what ``read`` says of noisy copies of a clip (1, features, bins, frames)."""
    _, _, bins, frames = x.shape
    with torch.no_grad():
        clean = read(x)

    def error(log_sigma: Tensor, step: int) -> Tensor:
        drawn = noise(clip, step, copies, bins, frames) * spread(log_sigma.exp() * mask, frames)
        disturbed = x.expand(copies, -1, -1, -1).clone()
        disturbed[:, plane] += network.std[plane] * drawn
        return (read(disturbed) - clean).square().mean()

    return error


def sought(error: Callable[[Tensor, int], Tensor], mask: Tensor, search: Search) -> Tensor:
    """ln σ (bins, blocks) at which ``error`` (ln σ, step) is least, its mean over the blocks of ``mask`` that of the total."""
    log_sigma = torch.full(mask.shape, search.total - UNIT)
    settled, last = torch.zeros(mask.shape), max(1, search.steps * 3 // 4)
    for step in range(search.steps):
        log_sigma.requires_grad_()
        (gradient,) = torch.autograd.grad(error(log_sigma, step), log_sigma)
        inside = mask & (log_sigma > math.log(search.least)) & (log_sigma < math.log(search.most))
        mean = gradient[inside if inside.any() else mask].mean()
        ratio = (gradient / mean.clamp(min=1e-12)).clamp(*BOUNDS)  # 0: the output does not move at this σ
        log_sigma = held(log_sigma.detach() - search.rate / 2 * (ratio - 1), mask, search)
        if step >= search.steps - last:
            settled += log_sigma / last
    return settled


def held(log_sigma: Tensor, mask: Tensor, search: Search) -> Tensor:
    """ln σ within its bounds, its mean over the blocks of ``mask`` that of the total (bounds take of a shift, so it is repeated)."""
    for _ in range(8):
        log_sigma = log_sigma + (search.total - UNIT - log_sigma[mask].mean())
        log_sigma = log_sigma.clamp(math.log(search.least), math.log(search.most))
    return log_sigma


def tensors_up_to(network: Network, layer: str) -> list[str]:
    """The names of the weights that an output depends on, of the body, in its own order."""
    network.requires_grad_(True)
    named = dict(network.body.named_parameters())
    value = reader(network, layer)(torch.zeros(1, *network.shape)).sum()
    parts = torch.autograd.grad(value, list(named.values()), allow_unused=True)
    network.requires_grad_(False)
    return [name for name, part in zip(named, parts) if part is not None]
