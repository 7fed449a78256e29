"""What every term costs per step beside ``soft`` alone, and what its adapter adds in weights and time.

    python -m bench.terms [--quick] [--rounds N] [TERM[@OPTION=VALUE]...]

The published pair of networks: ``cnn2`` learns from ``resnet18`` at (5, 20, 173), batch 8, all outputs of the teacher stored.
Steps are whole ones (batch, forward, losses, backward, optimizer), of one run on one thread, in CPU time, which other programs
hardly change, and of a run per core on all threads, in wall time. A few steps of ``soft:1`` and a few of ``soft:1,TERM`` alternate
every tenth of a second, first one and then the other first, so that what the machine does meanwhile slows both: each pair gives a ratio, and what is
printed is their median, and where the middle half of them lies, which says how noisy the machine was. ``adapter``: its weights,
and forward and backward of it alone on one thread.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.training import BATCH, CLASSES, SHAPE
from pipeline import losses, models
from pipeline.config import InputError, TrainSettings
from pipeline.losses import LossMix, Outputs, Term, library
from pipeline.losses.adapting import adapter as adapter_of
from pipeline.losses.adapting import listens, shapes
from pipeline.training import Run, Stored, Task, packing
from pipeline.training.dropout import output_layers
from pipeline.training.fit import packed
from pipeline.training.step import Pack, step, threads

#: Clips in memory, members of the ensemble, the seconds of a round of each, and of one turn in it.
ROWS, MEMBERS, SECONDS, TURN = 64, 5, 0.5, 0.1
BASE = "soft:1"


@dataclass(frozen=True)
class Cost:
    """Of one term beside the base, per run and step."""

    seconds: float
    ratios: Sequence[float]
    """Its step over the base's, one per pair of turns, sorted."""

    def quantile(self, share: float) -> float:
        return self.ratios[round(share * (len(self.ratios) - 1))]


def data() -> tuple[Tensor, Tensor, Stored]:
    """Samples, labels, and everything that a term may read of a teacher: all its outputs, members, another student."""
    random = torch.Generator().manual_seed(0)
    samples, labels = torch.randn(ROWS, *SHAPE, generator=random), torch.arange(ROWS) % CLASSES
    teacher = models.network("resnet18", SHAPE, CLASSES).eval()
    with torch.no_grad():
        outputs = {name: values[None] for name, values in teacher(samples).items()}
    outputs["members"] = torch.randn(1, ROWS, MEMBERS, CLASSES, generator=random)
    outputs["base"] = torch.randn(outputs["embedding"].shape, generator=random)
    return samples, labels, Stored(outputs, layers=output_layers([[teacher]], outputs["hidden"]))


def student_of(mix: str) -> str:
    """The network that learns: ``cnn2``, but for a term that is for another one."""
    named = (library.network(term.name, term.arguments) for term in LossMix.parse(mix).terms)
    return next(filter(None, named), "cnn2")


def pack_of(mix: str, runs: int, samples: Tensor, labels: Tensor, teacher: Stored) -> Pack:
    rows = np.arange(ROWS)
    each = [Run(fold, 0, LossMix.parse(mix), Task(rows, rows[:BATCH])) for fold in range(runs)]
    settings = TrainSettings(model=student_of(mix), batch=BATCH, lr=1e-4, clip_norm=1.0)
    each[0].mix.require(settings)
    unit = [packing.unit_statistics(samples)] * runs
    return packed(samples, labels, each, settings, CLASSES, teacher, "loop", unit)


def seconds_per_call(take: Callable[[], object], seconds: float, clock: Callable[[], float]) -> float:
    """By ``clock``, over at least ``seconds`` of it."""
    begun, done = clock(), 0
    while not done or clock() - begun < seconds:
        take()
        done += 1
    return (clock() - begun) / done


def seconds_per_step(pack: Pack, seconds: float) -> float:
    """Per run: a pack of n runs takes n of them in a step."""
    runs, clock = pack.learner.runs, time.process_time if pack.learner.runs == 1 else time.perf_counter

    def take() -> None:
        step(pack, False)
        pack.counter.remainder_(len(pack.tables.rows))

    with threads("loop", runs) as pack.learner.workers:
        take()
        return seconds_per_call(take, seconds, clock) / runs


def cost(base: Pack, pack: Pack, rounds: int, seconds: float) -> Cost:
    """Of ``rounds`` times ``seconds`` of each, in turns: what the second of a pair finds in the caches is the other's half the time."""
    each = []
    for turn in range(max(1, round(rounds * seconds / TURN))):
        order = (base, pack) if turn % 2 else (pack, base)
        took = {id(one): seconds_per_step(one, min(TURN, seconds)) for one in order}
        each.append((took[id(base)], took[id(pack)]))
    return Cost(statistics.median(term for _, term in each), sorted(term / plain for plain, term in each))


def adapter_cost(term: Term, student: Outputs, teacher: Stored, seconds: float) -> tuple[int, float] | None:
    """Weights, and seconds of forward and backward, of a term's adapter for a batch; None where it has none."""
    network = models.network("cnn2", SHAPE, CLASSES)
    module = adapter_of(term, network.name, shapes(network), teacher.shapes())
    if module is None:
        return None
    leaves = Outputs({name: values.detach().requires_grad_() for name, values in student.items()})

    heard = (teacher.rows(0, slice(BATCH)),) if listens(module) else ()

    def both_ways() -> None:
        told = module(leaves, *heard)
        values = told.values() if isinstance(told, dict) else [told]
        torch.stack([value.square().sum() for value in values]).sum().backward()

    with threads("loop", 1):
        both_ways()
        return models.parameters(module), seconds_per_call(both_ways, seconds, time.process_time)


def line(text: str, teacher: Stored, measure: Callable[[str], list[Cost]], seconds: float, samples: Tensor) -> str:
    """Of one term: its adapter, and its costs at each number of threads."""
    mix = f"{BASE},{text}"
    try:
        (term,) = (term for term in LossMix.parse(mix).terms if term.key != "soft")
        costs = measure(mix)
        network = models.network(student_of(mix), SHAPE, CLASSES)
        adapter = adapter_cost(term, network(samples[:BATCH]), teacher, seconds)
    except InputError as error:
        return f"  {text:24} {error}"
    about = f"{adapter[0]:9,} {1e3 * adapter[1]:7.2f}" if adapter else f"{'':9} {'':7}"
    return f"  {text:24} {about}" + "".join(
        f"  {1e3 * each.seconds:8.2f} {statistics.median(each.ratios):6.2f}  {each.quantile(0.25):.2f}-{each.quantile(0.75):.2f}"
        for each in costs
    )


def every_term() -> list[str]:
    """Every loss, and behind it its other published forms."""
    return [
        text
        for name in losses.names()
        for text in (
            name,
            *(term.key for mix in library.forms(name) for term in LossMix.parse(mix).terms if term.name == name),
        )
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("terms", nargs="*", help="for example hint attention@form=paper; default: every loss")
    parser.add_argument("--quick", action="store_true", help="one round of a tenth of a second: does it run?")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    rounds, seconds = (1, 0.1) if options.quick else (options.rounds, SECONDS)
    cores = torch.get_num_threads()
    samples, labels, teacher = data()
    bases = {runs: pack_of(BASE, runs, samples, labels, teacher) for runs in dict.fromkeys((1, cores))}

    def measure(mix: str) -> list[Cost]:
        packs = {runs: pack_of(mix, runs, samples, labels, teacher) for runs in bases}
        return [cost(bases[runs], packs[runs], rounds, seconds) for runs in bases]

    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"torch {torch.__version__}, {cores} threads{load}; cnn2 from resnet18 at {SHAPE}, batch {BATCH}")
    heads = ("1 run, 1 thread, CPU time", f"{cores} runs, {cores} threads")[: len(bases)]
    print(f"  {'':24} {'adapter':>17}" + "".join(f"  {head:^26}" for head in heads))
    print(
        f"  {'beside ' + BASE:24} {'weights':>9} {'ms':>7}"
        + f"  {'ms':>8} {'x soft':>6}  {'quartiles':9}" * len(bases),
        flush=True,
    )
    plain = [min(seconds_per_step(pack, seconds) for _ in range(rounds)) for pack in bases.values()]
    print(f"  {BASE:24} {'':17}" + "".join(f"  {1e3 * each:8.2f} {'':17}" for each in plain), flush=True)
    begun = time.perf_counter()
    for text in options.terms or [name for name in every_term() if name != "soft"]:
        print(line(text, teacher, measure, seconds, samples), flush=True)
    print(f"{time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    main()
