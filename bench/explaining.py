"""What ``explain`` costs, and whether it says what it said when σ was sought by 200 steps of Adam (docs/explain.md).

    python -m bench.explaining [RUN ...] [--clips 2]

First a linear network, whose answer is known: how near it both ways come. Then the last weights of each RUN, on clips of its held-out fold, both
ways with two draws of the noise: processor seconds and their ratio; correlation of H, and the share of blocks that are a concept for both
or for neither, of the old way with itself, of the new way with itself, and of the one with the other. One thread; the old way comes
first, before the C library is told to keep freed memory, which it was not told then.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pipeline import places, runs
from pipeline.figures.explained import concepts, discarded
from pipeline.figures.explained.discarded import USUAL
from pipeline.models import Network, Outputs, saved
from pipeline.processes import heap
from pipeline.report.explaining.clips import Clips, chosen
from pipeline.runs.weights import read_weights

Way = Callable[[Network, Tensor, str, int, Tensor], np.ndarray]
"""(network, clip (1, features, bins, frames), its name, plane, blocks (bins, blocks) bool) → H (bins, blocks)."""

#: Of the old way.
STEPS, RATE, WEIGHT = 200, 0.05, 7.0


class Linear(nn.Module):
    """f = W (the second plane) + 100: the ReLU behind it does nothing, and its error under noise is known."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, x: Tensor) -> Outputs:
        embedding = x[:, 1].flatten(1) @ self.weights.T + 100
        return Outputs(embedding=embedding, hidden=embedding, logits=embedding)


def linear(bins: int = 20, frames: int = 173, outputs: int = 256, unlike: float = 0.5) -> tuple[Network, np.ndarray]:
    """A linear network on two planes, and H (bins, blocks) as it should be. ``unlike``: deviation of ln of its blocks' weights."""
    random = torch.Generator().manual_seed(0)
    blocks = -(-frames // discarded.BLOCK)
    scale = discarded.spread(torch.exp(unlike * torch.randn(bins, blocks, generator=random)), frames)
    weights = torch.randn(outputs, bins, frames, generator=random) * scale
    parts = weights.square().mean(0).split(discarded.BLOCK, 1)
    best = -0.5 * torch.log(
        torch.stack([part.sum(1) for part in parts], 1)
    )  # error = Σ a_i σ_i²: every a_i σ_i² is equal
    held = discarded.held(best, torch.ones(bins, blocks, dtype=torch.bool), USUAL)
    return Network("linear", Linear(weights.flatten(1)), (2, bins, frames), outputs), (held + concepts.UNIT).numpy()


def objective(error: Tensor, first_error: Tensor, entropies: Tensor, weight: float) -> Tensor:
    """Cheng et al. 2020: error / δ² − λ · mean H, one value per clip: errors (clips,), H (clips, ...)."""
    return error / first_error - weight * entropies.flatten(1).mean(1)


def by_adam(network: Network, x: Tensor, clip: str, plane: int, mask: Tensor) -> np.ndarray:
    """The old way: Adam on ln σ, each gradient's mean taken away, the total restored, and the mean of the last quarter of the steps."""
    network = network.eval().requires_grad_(False)
    read = discarded.reader(network, "embedding")
    error = discarded.disturbing(network, read, x, clip, plane, mask, USUAL.copies)
    with torch.no_grad():
        first_error = error(torch.full(mask.shape, math.log(USUAL.first)), 0)
    log_sigma = torch.full(mask.shape, USUAL.total - concepts.UNIT).requires_grad_()
    optimizer = torch.optim.Adam([log_sigma], RATE)
    settled, last = torch.zeros(mask.shape), STEPS // 4
    for step in range(STEPS):
        entropies = (log_sigma + concepts.UNIT)[mask][None]
        loss = objective(error(log_sigma, step)[None], first_error[None], entropies, WEIGHT).sum()
        (gradient,) = torch.autograd.grad(loss, log_sigma)
        log_sigma.grad = torch.where(mask, gradient - gradient[mask].mean(), 0)
        optimizer.step()
        with torch.no_grad():
            log_sigma.copy_(discarded.held(log_sigma, mask, USUAL))
            if step >= STEPS - last:
                settled += log_sigma / last
    return torch.where(mask, settled + concepts.UNIT, 0).detach().numpy()


def by_newton(network: Network, x: Tensor, clip: str, plane: int, mask: Tensor) -> np.ndarray:
    """Today's way."""
    return discarded.discarded(network, x, [clip], plane, mask.numpy()[None]).entropies[0]


def timed(way: Way, network: Network, clips: Clips, draw: str) -> tuple[np.ndarray, float]:
    """H (clips, bins, blocks) and processor seconds; ``draw`` names the noise."""
    begun, found = time.process_time(), []
    for values, clip, mask in zip(torch.from_numpy(clips.values).split(1), clips.names, clips.counting):
        found.append(way(network, values, draw + clip, clips.plane, torch.from_numpy(mask.copy())))
    return np.stack(found), time.process_time() - begun


def alike(one: np.ndarray, other: np.ndarray, clips: Clips) -> tuple[float, float]:
    """Correlation of H over the blocks that count, and the share of them that are a concept for both or for neither."""
    sound, counting = clips.foreground(10.0), clips.counting
    first, second = (concepts.counts(h, sound, counting).concepts for h in (one, other))
    return float(np.corrcoef(one[counting], other[counting])[0, 1]), float((first == second)[counting].mean())


def of_linear() -> None:
    print("a linear network     way     correlation  rmse/nats  concepts as they should be")
    for unlike in (0.5, 1.0):
        network, best = linear(unlike=unlike)
        mask, x = torch.ones(best.shape, dtype=torch.bool), torch.zeros(1, *network.shape)
        for name, way in (("Adam", by_adam), ("Newton", by_newton)):
            found = way(network, x, "linear", 1, mask)
            right = ((found.mean() - found > concepts.THRESHOLD) == (best.mean() - best > concepts.THRESHOLD)).mean()
            row = np.corrcoef(found.ravel(), best.ravel())[0, 1], np.sqrt(((found - best) ** 2).mean()), right
            print(f"weights e^±{unlike:<4g}       {name:7} {row[0]:11.4f}  {row[1]:9.3f}  {row[2]:.3f}", flush=True)


def of_runs(folders: list[Path], count: int) -> None:
    networks = []
    for folder in folders:
        record = runs.read(folder)
        networks.append((record, saved.network_of(read_weights(folder)), chosen(record, places.cache(), count)))
    old = [[timed(by_adam, network, clips, draw) for draw in ("", "again ")] for _, network, clips in networks]
    heap.keep_freed()
    new = [[timed(by_newton, network, clips, draw) for draw in ("", "again ")] for _, network, clips in networks]
    print(
        "run  clips  s before  s now  ratio  Adam and Adam  Newton and Newton  Newton and Adam (correlation, concepts alike)"
    )
    for (record, _, clips), before, now in zip(networks, old, new):
        seconds = [min(took for _, took in way) for way in (before, now)]
        pairs = [alike(a[0], b[0], clips) for a, b in ((*before,), (*now,), *((n, b) for n in now for b in before))]
        across = tuple(np.mean(pairs[2:], axis=0))
        told = "  ".join(f"{r:.4f} {c:.3f}" for r, c in (*pairs[:2], across))
        print(
            f"{record.model} {record.mix_text}, fold {record.fold}: {len(clips.names)}  {seconds[0]:.1f}  {seconds[1]:.1f}  "
            f"{seconds[0] / seconds[1]:.1f}  {told}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("runs", nargs="*", type=Path)
    parser.add_argument("--clips", type=int, default=2)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    of_linear()
    if asked.runs:
        of_runs(asked.runs, asked.clips)


if __name__ == "__main__":
    main()
