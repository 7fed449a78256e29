"""Training speed as ``teacher`` and ``distill`` train on a CPU: a pack in each of as many processes as there are cores, one thread each.

    python -m bench.training_processes [--network resnet18|cnn2] [--runs 1,4,10] [--processes 2] [--rounds 5]

The obvious way is that of ``bench.training``: one run, with as many threads as cores. It takes turns with all processes at once, which
are started and warm before; figures are run-steps per second, medians of the rounds, the spread is said. (``bench.training``
has one pack in one process, where the losses of all its runs are one thread's.)
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from bench.training import BATCH, CLASSES, ROWS, SHAPE, TITLES, obvious_steps, pack_of, rate, step_of
from pipeline.config import TrainSettings
from pipeline.processes import heap
from pipeline.training import Stored
from pipeline.training.step import threads

CPU = torch.device("cpu")

#: Seconds of one turn of either way.
SECONDS = 2.0


def data() -> tuple[Tensor, Tensor, Stored]:
    torch.manual_seed(0)
    outputs = {"embedding": torch.randn(1, ROWS, 256), "logits": torch.randn(1, ROWS, CLASSES)}
    return torch.randn(ROWS, *SHAPE), torch.arange(ROWS) % CLASSES, Stored(outputs)


def work(network: str, runs: int) -> None:
    """A process: a pack on one thread. Each line of its input makes it step for so many seconds and answer its run-steps per second."""
    torch.set_num_threads(1)
    heap.keep_freed()
    pack = pack_of(network, runs, "loop", *data(), TrainSettings(model=network, lr=1e-3))
    with threads("loop", 1):
        take = step_of(pack)
        take()
        print("ready", flush=True)
        for line in sys.stdin:
            print(runs * rate_until(take, time.monotonic() + float(line)), flush=True)


def rate_until(take: Callable[[], object], deadline: float) -> float:
    """Calls per second until then: all processes end together, so that none has the cores for itself at last (``rate`` doubles)."""
    begun, done = time.monotonic(), 0
    while time.monotonic() < deadline:
        take()
        done += 1
    return done / (time.monotonic() - begun)


def compare(network: str, runs: int, processes: int, rounds: int) -> None:
    """Print a line."""
    command = [sys.executable, "-m", "bench.training_processes", "--network", network, "--runs", str(runs), "--work"]
    home = Path(__file__).resolve().parents[1]
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=home)
        for _ in range(processes)
    ]
    try:
        for worker in workers:
            assert worker.stdout is not None and worker.stdout.readline() == "ready\n"
        samples, labels, teacher = data()
        plain = obvious_steps(network, samples, labels, teacher, CPU)
        next(plain)
        ours, theirs = [], []
        for _ in range(rounds):
            theirs.append(rate(lambda: next(plain), SECONDS, CPU))
            for worker in workers:
                assert worker.stdin is not None
                worker.stdin.write(f"{SECONDS}\n")
                worker.stdin.flush()
            ours.append(sum(float(worker.stdout.readline()) for worker in workers if worker.stdout is not None))
        mine, base = statistics.median(ours), statistics.median(theirs)
        print(
            f"{TITLES[network]}: obvious {base:.1f} ({min(theirs):.0f}-{max(theirs):.0f}), R = {runs} in each of {processes} processes "
            f"{mine:.1f} ({min(ours):.0f}-{max(ours):.0f}), {mine / base:.2f} x",
            flush=True,
        )
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", action="append", choices=list(TITLES), help="again for another one; default: both")
    parser.add_argument("--runs", default="1,4,10", help="pack sizes")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    counts = [int(n) for n in options.runs.split(",")]
    networks = options.network or list(TITLES)
    if options.work:
        work(networks[0], counts[0])
        return
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, batch {BATCH}, {SHAPE}, float32", flush=True)
    begun = time.perf_counter()
    for network in networks:
        for runs in counts:
            compare(network, runs, options.processes, options.rounds)
    print(f"{time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    main()
