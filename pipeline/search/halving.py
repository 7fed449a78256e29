"""Successive halving over epochs (Jamieson and Talwalkar 2016): which trials go on, and how far.

Trials come in brackets. All of a bracket are trained to the first rung, the best of them to the next, the last to their last
epoch. Every rung is a share of a trial's own epochs, and goes on from where the one before ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

#: Trials of a bracket where none is stopped early: so many are proposed at once.
AT_ONCE = 8


def shares(epochs: int, halving: int, least: int) -> tuple[float, ...]:
    """Of each rung, which share of its epochs a trial is trained for: 1 at last, ``halving`` times less at each rung before.

    As many rungs as keep the first one at ``least`` epochs or more, of ``epochs``.
    """
    rungs = [1.0]
    while halving > 1 and epochs * rungs[0] / halving >= least:
        rungs.insert(0, rungs[0] / halving)
    return tuple(rungs)


def epochs_at(share: float, epochs: int) -> int:
    return max(1, round(share * epochs))


def brackets(trials: int, halving: int, rungs: int) -> list[range]:
    """The numbers of the trials of each bracket: so many that one is left at the last rung."""
    size = AT_ONCE if rungs == 1 else halving ** (rungs - 1)
    return [range(first, min(first + size, trials)) for first in range(0, trials, size)]


def survivors(accuracies: Mapping[int, float], halving: int) -> list[int]:
    """The trials that go on: one in ``halving``, one at least, the most accurate; of equals the first. In their order."""
    ranked = sorted(accuracies, key=lambda trial: (-accuracies[trial], trial))
    return sorted(ranked[: max(1, len(ranked) // halving)])


def trained(trials: int, halving: int, rungs: Sequence[float], epochs: int) -> list[tuple[int, int]]:
    """Of each rung (trials that reach it, epochs of each up to there), where none is refused."""
    counts = [0] * len(rungs)
    for bracket in brackets(trials, halving, len(rungs)):
        left = len(bracket)
        for rung in range(len(rungs)):
            counts[rung] += left
            left = max(1, left // halving)
    return [(count, epochs_at(share, epochs)) for count, share in zip(counts, rungs)]
