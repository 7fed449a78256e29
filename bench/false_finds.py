"""How often tables find what is not there, and miss what is: simulated tables with nothing, or a true +2 points, in them.

A table has ``--mixes`` mixes and a baseline over folds × seeds. The accuracy of mix m on fold k with seed s, in points, is
u_mk + e_mks: u (standard deviation ``folds``) is what the mix gains or loses on that fold whatever the seed, e (``seeds``)
the noise of one training. u of two folds correlates by ρ = 1/folds, as Nadeau and Bengio's correction takes overlapping
training sets to make it, or not at all. The baseline has its own u and e, which all differences of a table share.

Judged by the project's own ``statistics``: folds' means; fold × seed (n = folds · seeds); each with Holm over the mixes,
and Wilcoxon on folds' means with Holm. A false find is a table without any effect in which some mix has p < 0.05. Power is
how often a mix with a true +2 points is found, the others having none. Covers: how often the 95 % interval of one
difference holds 0 (the truth for folds to come). With fewer than six folds the tables print no p: those rows say what
would happen if they did.

A second table is of the two intervals that few folds have: tables of clips, cut from recordings, whose difference varies by
fold. It counts how often each interval holds the truth for folds to come (0) and for these folds.

    python -m bench.false_finds                  # about five minutes on one core
    python -m bench.false_finds --tables 400 --clips 100
"""

from __future__ import annotations

import argparse
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.figures import bootstrap, statistics

LEVEL, EFFECT = 0.05, 2.0


@dataclass(frozen=True)
class Scenario:
    name: str
    folds: float
    """Standard deviation of a mix' own effect on a fold, points."""
    seeds: float
    """Standard deviation of one training, points."""
    overlap: bool
    """Whether effects on folds correlate by 1/folds."""


SCENARIOS = (
    Scenario("mixes differ by fold", 1.5, 0.5, True),
    Scenario("mixes differ by fold, no overlap", 1.5, 0.5, False),
    Scenario("both alike", 1.0, 1.5, True),
    Scenario("seeds dominate", 0.2, 2.0, True),
)

Judge = Callable[[np.ndarray, float], list[float | None]]
"""Differences (mixes, folds, seeds), n_test / n_train → p of each mix."""


def fold_means(differences: np.ndarray, ratio: float) -> list[float | None]:
    return [statistics.corrected_t_test(list(pairs.mean(axis=1)), ratio).p for pairs in differences]


def fold_by_seed(differences: np.ndarray, ratio: float) -> list[float | None]:
    return [statistics.corrected_t_test(list(pairs.ravel()), ratio).p for pairs in differences]


def signed_ranks(differences: np.ndarray, ratio: float) -> list[float | None]:
    return [of_ranks(*ranks(pairs.mean(axis=1))) for pairs in differences]


def ranks(means: np.ndarray) -> tuple[int, int]:
    """How many differences, and the sum of the ranks of those above 0; drawn numbers have no ties."""
    order = np.abs(means).argsort().argsort() + 1
    return len(means), int(order[means > 0].sum())


@functools.cache
def of_ranks(count: int, positive: int) -> float | None:
    """p of Wilcoxon's test, which hangs on that sum alone: of any signs that give it."""
    values = []
    for rank in range(count, 0, -1):
        values.append(float(rank) if rank <= positive else -float(rank))
        positive -= rank if rank <= positive else 0
    return statistics.wilcoxon(values)


JUDGES: dict[str, Judge] = {
    "folds' means": fold_means,
    "fold × seed": fold_by_seed,
    "Wilcoxon, folds' means": signed_ranks,
}


def accuracies(scenario: Scenario, shape: tuple[int, int, int], rng: np.random.Generator) -> np.ndarray:
    """(mixes, folds, seeds) points of accuracy without any true difference."""
    mixes, folds, _ = shape
    rho = 1 / folds if scenario.overlap else 0.0
    shared, of_fold = rng.normal(size=(mixes, 1, 1)), rng.normal(size=(mixes, folds, 1))
    effect = scenario.folds * (math.sqrt(rho) * shared + math.sqrt(1 - rho) * of_fold)
    return np.asarray(effect + scenario.seeds * rng.normal(size=shape))


def lines(scenario: Scenario, folds: int, seeds: int, mixes: int, tables: int) -> list[str]:
    """Of one scenario and number of folds: false finds and power of each way to judge, with and without Holm; coverage."""
    rng, ratio = np.random.default_rng(0), 1 / (folds - 1)
    ways = [(name, holm) for name in JUDGES for holm in (True, False)]
    false, true, covered = dict.fromkeys(ways, 0), dict.fromkeys(ways, 0), 0
    for _ in range(tables):
        values = accuracies(scenario, (mixes + 1, folds, seeds), rng)
        nothing = values[1:] - values[0]
        for name, judge in JUDGES.items():
            null = judge(nothing, ratio)
            effect = [*judge(nothing[:1] + EFFECT, ratio), *null[1:]]
            for holm in (True, False):
                false[name, holm] += any(significant(null, holm))
                true[name, holm] += significant(effect, holm)[0]
        test = statistics.corrected_t_test(list(nothing[0].mean(axis=1)), ratio)
        covered += test.low is not None and test.high is not None and test.low <= 0 <= test.high
    return [
        f"| {scenario.name} | {folds} | {name}{', Holm' if holm else ''} | {percent(false[name, holm], tables)} | "
        f"{percent(true[name, holm], tables)} | {percent(covered, tables) if JUDGES[name] is fold_means else ''} |"
        for name, holm in ways
    ]


def significant(p: Sequence[float | None], holm: bool) -> list[bool]:
    adjusted = statistics.holm(p) if holm else p
    return [value is not None and value < LEVEL for value in adjusted]


def percent(count: int, of: int) -> str:
    return f"{100 * count / of:.0f} %"


RECORDINGS, CLIPS = 80, 3
"""Of each fold: recordings, and clips of each."""


def intervals(folds: int, tables: int, spread: float) -> str:
    """How often the interval over folds and the one over recordings hold 0, and the difference of these folds.

    On fold k a clip of recording g is right in the mix and not in the baseline with probability a + f_k/2 + v_g, the other
    way round with a − f_k/2 − v_g (a = 0.15), so the folds' true differences are f_k, of standard deviation ``spread``
    points and mean 0; v_g ties the clips of a recording.
    """
    rng, hold = (
        np.random.default_rng(1),
        dict.fromkeys(("folds 0", "folds own", "recordings 0", "recordings own"), 0),
    )
    sources = {k: np.array([f"{k}-{g}" for g in range(RECORDINGS) for _ in range(CLIPS)]) for k in range(folds)}
    for _ in range(tables):
        truth = rng.normal(0, spread / 100, folds)
        tied = rng.choice([-0.05, 0.05], size=(folds, RECORDINGS)).repeat(CLIPS, axis=1)
        chances, drawn = 0.15 + truth[:, None] / 2 + tied, rng.random((folds, RECORDINGS * CLIPS))
        gained, lost = drawn < chances, drawn > 1 - (0.3 - chances)
        differences = 100.0 * (gained.astype(float) - lost)
        by_fold = statistics.corrected_t_test(list(differences.mean(axis=1)), 1 / (folds - 1))
        by_recording = bootstrap.by_recording(dict(enumerate(differences)), sources, resamples=2000)
        for name, covered in (("folds", by_fold), ("recordings", by_recording)):
            for target, value in (("0", 0.0), ("own", 100 * float(truth.mean()))):
                hold[f"{name} {target}"] += (
                    covered.low is not None and covered.high is not None and covered.low <= value <= covered.high
                )
    cells = " | ".join(percent(count, tables) for count in hold.values())
    return f"| {folds} | {spread:g} | {cells} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folds", type=int, nargs="*", default=[3, 5, 10])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--mixes", type=int, default=7)
    parser.add_argument("--tables", type=int, default=1000, help="Of each line.")
    parser.add_argument("--clips", type=int, default=200, help="Tables of clips, of each line of the second table.")
    chosen = parser.parse_args()
    error = 100 * math.sqrt(0.05 * 0.95 / chosen.tables)
    print(
        f"{chosen.tables} tables a line, {chosen.mixes} mixes, {chosen.seeds} seeds (standard error at 5 %: {error:.1f})\n"
    )
    print("| scenario | folds | judged by | false find in a null table | power, +2 points | interval holds 0 |")
    print("| --- | ---: | --- | ---: | ---: | ---: |")
    for scenario in SCENARIOS:
        for folds in chosen.folds:
            print("\n".join(lines(scenario, folds, chosen.seeds, chosen.mixes, chosen.tables)), flush=True)
    print(f"\n{chosen.clips} tables a line; {RECORDINGS} recordings of {CLIPS} clips per fold\n")
    print(
        "| folds | SD of the folds' true differences, points | over folds: holds folds to come | holds these folds | "
        "over recordings: holds folds to come | holds these folds |"
    )
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    for folds in chosen.folds:
        for spread in (0.0, 3.0):
            print(intervals(folds, chosen.clips, spread), flush=True)


if __name__ == "__main__":
    main()
