"""Training speed: run-steps per second of teacher and student at R = 1, 10, 30, 90, against the obvious way.

    python -m bench.training [--device auto|cpu|cuda] [--quick] [--runs 1,10]
                              [--precision float32|bfloat16] [--data float32|bfloat16] [--tf32]

The obvious way, in the same process: one run, torch's own modules, eager, float32, a ``DataLoader`` of batches of 8,
``torch.optim.SGD``; its student gets the teacher's outputs ready made and the same losses. Both ways take whole steps
(batch, forward, losses, backward, optimizer) and alternate; each figure is the median of the rounds, the spread is
said. On a GPU the floor is printed too: the bytes and operations a step cannot do without, over the rates that the
card shows for a copy and for a product in the same type.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from pipeline import models
from pipeline.config import TrainSettings
from pipeline.losses import LossMix, load
from pipeline.models import Outputs
from pipeline.training import (
    Run,
    Stored,
    Task,
    packing,
)
from pipeline.training.fit import packed
from pipeline.training.graphs import graphed_step
from pipeline.training.step import (
    Pack,
    step,
    threads,
)
from pipeline.training.tuning import tuned

SHAPE, CLASSES, BATCH, ROWS = (5, 20, 173), 10, 8, 1024
MIXES = {"resnet18": "ce", "cnn2": "angle,area"}
TITLES = {"resnet18": "teacher (resnet18, ce)", "cnn2": "student (cnn2, angle,area,soft)"}


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


def obvious(name: str) -> tuple[nn.Module, nn.Module]:
    """The network as one writes it: everything up to the embedding, and the rest."""
    if name == "cnn2":
        body = nn.Sequential(
            nn.Conv2d(5, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )
        return body, nn.Sequential(nn.Linear(3440, 32), nn.ReLU(), nn.Linear(32, CLASSES))
    blocks = [
        (8, 8, 1),
        (8, 8, 1),
        (8, 16, 2),
        (16, 16, 1),
        (16, 32, 2),
        (32, 32, 1),
        (32, 64, 2),
        (64, 64, 1),
    ]
    body = nn.Sequential(
        nn.Conv2d(5, 8, 3, 1, 1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        *(Block(*block) for block in blocks),
        nn.AdaptiveAvgPool2d((1, 4)),
        nn.Flatten(),
    )
    return body, nn.Linear(256, CLASSES)


def obvious_steps(name: str, samples: Tensor, labels: Tensor, teacher: Stored, device: torch.device) -> Iterator[None]:
    """One step of the obvious way each time it is asked."""
    body, head = (part.to(device) for part in obvious(name))
    settings = TrainSettings(model=name)
    sgd = torch.optim.SGD(
        [*body.parameters(), *head.parameters()],
        lr=1e-3,
        momentum=settings.momentum,
        nesterov=True,
        weight_decay=settings.weight_decay,
    )
    taught = [teacher.outputs[name][0].cpu() for name in ("embedding", "logits")]
    loader = DataLoader(
        TensorDataset(samples.cpu(), labels.cpu(), *taught), batch_size=BATCH, shuffle=True, drop_last=True
    )
    terms = [(load(term.name), term.weight) for term in LossMix.parse(MIXES[name]).terms]
    while True:
        for batch in loader:
            x, y, embedding, logits = (part.to(device) for part in batch)
            student = body(x)
            outputs, told = (
                Outputs(embedding=student, logits=head(student)),
                Outputs(embedding=embedding, logits=logits),
            )
            loss = torch.stack([weight * f(outputs, told, y) for f, weight in terms]).sum()
            sgd.zero_grad()
            loss.backward()
            sgd.step()
            yield


def rate(take: Callable[[], object], seconds: float, device: torch.device) -> float:
    """Calls per second, over at least ``seconds``."""
    packing.wait(device)
    begun, done = time.perf_counter(), 0
    while not done or time.perf_counter() - begun < seconds:
        for _ in range(max(1, done)):  # doubling, so that a GPU is waited for rarely
            take()
        done += max(1, done)
        packing.wait(device)
    return done / (time.perf_counter() - begun)


def pack_of(
    name: str, runs: int, layout: str, samples: Tensor, labels: Tensor, teacher: Stored, settings: TrainSettings
) -> Pack:
    mix, rows = LossMix.parse(MIXES[name]), np.arange(ROWS)
    return packed(
        samples,
        labels,
        [Run(fold, 0, mix, Task(rows, rows[:8])) for fold in range(runs)],
        settings,
        CLASSES,
        teacher,
        layout,
        [packing.unit_statistics(samples)] * runs,
    )


def step_of(pack: Pack) -> Callable[[], None]:
    """One step of a pack, round and round through an epoch; on a GPU a graph."""

    def take() -> None:
        step(pack, False)
        pack.counter.remainder_(len(pack.tables.rows))

    if pack.samples.device.type != "cuda" or pack.learner.layout == "loop":
        return take
    return graphed_step(take, list(pack.written().values()))


def floor(name: str, runs: int, rates: tuple[float, float]) -> float:
    """Seconds that a step of R runs takes at least: operations or bytes, whichever is longer.

    Operations: forward, and backward to weights and inputs (not to the network's own input). Bytes: each layer's input
    and output once forward and twice backward, weights, gradients and momentum once in and once out.
    """
    network, counted = models.network(name, SHAPE, CLASSES), {"flops": 0.0, "bytes": 0.0, "first": 1.0}

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        times = 2 if counted["first"] else 3
        counted["first"] = 0
        counted["flops"] += times * 2 * output.numel() * layer.weight[0].numel()
        counted["bytes"] += 3 * 4 * (inputs[0].numel() + output.numel())

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    network(torch.zeros(BATCH, *SHAPE))
    counted["bytes"] += 6 * 4 * models.parameters(network)
    return runs * max(counted["flops"] / rates[0], counted["bytes"] / rates[1])


def card_rates(device: torch.device) -> tuple[float, float]:
    """Operations and bytes per second that the card shows for a float32 product and for a copy."""
    a, big = torch.randn(8192, 8192, device=device), torch.empty(1 << 28, device=device)
    other = torch.empty_like(big)
    product = 2 * 8192**3 * rate(lambda: a @ a, 1.0, device)
    return product, 2 * big.nbytes * rate(lambda: other.copy_(big), 1.0, device)


def compare(name: str, counts: list[int], device: torch.device, quick: bool, settings: TrainSettings) -> None:
    """Print a line for the obvious way, and one per pack size."""
    torch.manual_seed(0)
    dtype = torch.bfloat16 if settings.data == "bfloat16" else torch.float32
    samples, labels = torch.randn(ROWS, *SHAPE).to(device, dtype), (torch.arange(ROWS) % CLASSES).to(device)
    embedding = torch.randn(1, ROWS, 256, device=device)
    teacher = Stored({"embedding": embedding, "logits": torch.randn(1, ROWS, CLASSES, device=device)})
    plain = obvious_steps(name, samples.float(), labels, teacher, device)
    rounds, seconds = (2, 0.7) if quick else (5, 2.0)
    rates = card_rates(device) if device.type == "cuda" else None
    print(f"\n{TITLES[name]}\n{'':34} run-steps/s    spread   × obvious   × R = 1", flush=True)
    single = None
    for runs in counts:
        mix, rows = LossMix.parse(MIXES[name]), np.arange(ROWS)
        wanted = [Run(fold, 0, mix, Task(rows, rows[:8])) for fold in range(runs)]
        choice = packing.choose(
            samples,
            labels,
            wanted,
            settings,
            classes=CLASSES,
            teaching=teacher,
            pack=runs,
            seconds=2.0 if quick else 6.0,
        )
        ours, theirs = [], []
        with tuned(device, settings.tf32):
            pack = pack_of(name, choice.pack, choice.layout, samples, labels, teacher, settings)
            with threads(choice.layout, choice.pack) as workers:
                pack.learner.workers = workers
                take = step_of(pack)
                take()
            for _ in range(rounds):
                next(plain)
                theirs.append(rate(lambda: next(plain), seconds, device))
                with threads(choice.layout, choice.pack) as workers:
                    pack.learner.workers = workers
                    ours.append(choice.pack * rate(take, seconds, device))
        base, mine = statistics.median(theirs), statistics.median(ours)
        single = single or mine
        if runs == counts[0]:
            print(
                f"  {'obvious (1 run, eager, DataLoader)':32} {base:10.1f}  {min(theirs):.0f}-{max(theirs):.0f}",
                flush=True,
            )
        line = f"  {f'R = {runs}, {choice.layout}':32} {mine:10.1f}  {min(ours):.0f}-{max(ours):.0f}  {mine / base:8.2f}  {mine / single:8.2f}"
        if rates:
            line += f"   {100 * floor(name, choice.pack, rates) * mine / choice.pack:.0f} % of the floor"
        print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--quick", action="store_true", help="R = 1 and 10 only, in about a minute")
    parser.add_argument("--runs", help="pack sizes, for example 1,10,30,90")
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--data", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--tf32", action="store_true")
    options = parser.parse_args()
    name = options.device if options.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    counts = [int(n) for n in (options.runs or ("1,10" if options.quick else "1,10,30,90")).split(",")]
    processor = torch.cuda.get_device_name(device) if name == "cuda" else f"{torch.get_num_threads()} CPU threads"
    load_average = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(
        f"torch {torch.__version__}, {processor}{load_average}; batch {BATCH}, {SHAPE}, {options.precision}, tf32 {options.tf32}"
    )
    for model in ("resnet18", "cnn2"):
        settings = TrainSettings(
            model=model, lr=1e-3, precision=options.precision, data=options.data, tf32=options.tf32
        )
        compare(model, counts, device, options.quick, settings)


if __name__ == "__main__":
    main()
