"""Whole experiments on the device: full-size Table 3 and ResNet-56, some of each measured, the rest extrapolated."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from bench.gpu_packs import (
    Clock,
    Data,
    Sizes,
    default_layout,
    endless,
    free,
    made_pack,
    made_up,
    named_error,
    speed_runs,
    ways,
)
from bench.training import rate
from pipeline import models
from pipeline.config import TrainSettings
from pipeline.losses import TABLE3_MIXES, LossMix
from pipeline.losses.learner import LAYOUTS
from pipeline.training import Run, Task, outputs
from pipeline.training.fit import standardisation
from pipeline.training.loop import Loop
from pipeline.training.packing import wait
from pipeline.training.sampling import epoch_tables, steps_of
from pipeline.training.step import threads
from pipeline.training.tuning import tuned

#: As CIFAR-100 has them.
IMAGE_CLASSES = 100


def table3(size: Sizes, device: torch.device, clock: Clock) -> dict[str, Any]:
    """Ten teachers, their outputs, and eight students of each: what is done once per training is timed whole, steps for
    the time there is, one test of the held-out folds; goal: under 600 seconds."""
    data = made_up(2 * size.clips, size.shape, size.classes, device, teachers=size.folds)
    teachers = [run_of_fold(LossMix.parse("ce"), fold, size) for fold in range(size.folds)]
    mixes = [LossMix.parse(text) for text in TABLE3_MIXES]
    students = [run_of_fold(mix, fold, size) for mix in mixes for fold in range(size.folds)]
    stages: dict[str, Any] = {}
    for name, runs in (("resnet18", teachers), ("cnn2", students)):
        settings = TrainSettings(model=name, epochs=size.epochs, lr=0.1 if name == "resnet18" else 0.002)
        share = clock.part(clock.left() / (2 if name == "resnet18" else 1))
        stages[name] = stage(data, runs, settings, size, default_layout(device), share)
        free(device)
    stages["teachers' outputs"] = {"total_seconds": outputs_seconds(data, teachers, size)}
    total = sum(part["total_seconds"] for part in stages.values())
    return {
        "rows": 2 * size.clips,
        "folds": size.folds,
        "epochs": size.epochs,
        "stages": stages,
        "extrapolated_seconds": total,
        "goal_seconds": 600,
        "reached": total < 600,
    }


def run_of_fold(mix: LossMix, fold: int, size: Sizes) -> Run:
    """Held out: every clip of the fold, clean; trained on: both rows (2c and 2c + 1) of all other clips."""
    clips = np.arange(size.clips)
    out = clips % size.folds == fold
    train = np.sort(np.concatenate([2 * clips[~out], 2 * clips[~out] + 1]))
    return Run(fold + 1, 0, mix, Task(train, 2 * clips[out]), teacher=fold)


def stage(
    data: Data, runs: Sequence[Run], settings: TrainSettings, size: Sizes, layout: str, clock: Clock
) -> dict[str, Any]:
    """Seconds of one pack's training, from its parts."""
    device = data.samples.device
    with tuned(device, settings.tf32), threads(layout, len(runs)) as workers:
        begun = time.monotonic()
        statistics = standardisation(data.samples, runs)
        pack = made_pack(data, runs, settings, size.classes, layout, statistics)
        pack.learner.workers = workers
        loop = Loop(pack, runs, settings, None, "", 300.0, None)
        loop.set_tables(epoch_tables(runs, data.labels, settings, 0, [False] * len(runs), device))
        loop.take(False)
        wait(device)
        once = time.monotonic() - begun
        begun = time.monotonic()
        loop.set_tables(epoch_tables(runs, data.labels, settings, 0, [False] * len(runs), device))
        wait(device)
        planning = time.monotonic() - begun
        steps = max(steps_of(run, settings.batch) for run in runs)
        done, begun = 1, time.monotonic()
        while done < loop.full and (clock.left() > 3 or done < 3):
            for _ in range(min(20, loop.full - done)):
                loop.take(False)
                done += 1
            wait(device)
        per_step = (time.monotonic() - begun) / max(1, done - 1)
        loop.record(0.0, [False] * len(runs))
        begun = time.monotonic()
        loop.record(0.0, [False] * len(runs))
        testing = time.monotonic() - begun
    return {
        "runs": len(runs),
        "layout": layout,
        "once_seconds": once,
        "planning_seconds_per_epoch": planning,
        "steps_per_epoch": steps,
        "measured_steps": done - 1,
        "ms_per_step": 1e3 * per_step,
        "run_steps_per_second": len(runs) / per_step,
        "testing_seconds_per_epoch": testing,
        "failures": sum(failure is not None for failure in loop.progress.failures),
        "total_seconds": once + settings.epochs * (planning + steps * per_step + testing),
    }


def outputs_seconds(data: Data, runs: Sequence[Run], size: Sizes) -> float:
    """Seconds for all teachers' outputs on their own training rows, from those of one."""
    network = models.network("resnet18", size.shape, size.classes)
    begun = time.monotonic()
    outputs(network, data.samples, runs[0].task.train)
    wait(data.samples.device)
    return (time.monotonic() - begun) * len(runs)


#: Of the arithmetic: its name, TensorFloat-32 or not, and what autocast computes in.
PRECISIONS = (("float32", False, "float32"), ("tf32", True, "float32"), ("bfloat16", False, "bfloat16"))


def resnet56(size: Sizes, device: torch.device, clock: Clock) -> dict[str, Any]:
    """Seconds per epoch and run of CIFAR-sized images, against torch's own modules, eager, with a DataLoader, in torch's
    own settings (TensorFloat-32 in convolutions) and without TensorFloat-32; goal: 5 × at eight runs."""
    data = made_up(size.images, size.image, IMAGE_CLASSES, device)
    steps = size.images // size.image_batch
    obvious = {
        label: steps / obvious_image_rate(data, size, device, tf32)
        for label, tf32 in (("float32", False), ("torch's own settings (tf32 convolutions)", True))
    }
    rows = []
    for layout in LAYOUTS[::-1]:
        for precision in PRECISIONS if layout == "vmap" or device.type == "cuda" else PRECISIONS[:1]:
            for way in ways(device)[:1]:
                rows.append(image_row(data, size, device, clock, layout, precision, way, obvious))
                free(device)
    return {
        "images": size.images,
        "batch": size.image_batch,
        "steps_per_epoch": steps,
        "obvious": obvious,
        "rows": rows,
        "goal": 5,
    }


def image_row(
    data: Data,
    size: Sizes,
    device: torch.device,
    clock: Clock,
    layout: str,
    precision: tuple[str, bool, str],
    way: str,
    obvious: Mapping[str, float],
) -> dict[str, Any]:
    """The speed of one layout and precision; ``obvious``: seconds per epoch of the obvious way."""
    name, tf32, autocast = precision
    row: dict[str, Any] = {"runs": size.image_runs, "layout": layout, "way": way, "precision": name}
    if clock.left() < 2:
        return {**row, "error": "the time of this part is up"}
    settings = TrainSettings(model="resnet56", batch=size.image_batch, lr=1e-3, tf32=tf32, precision=autocast)
    try:
        with tuned(device, tf32):
            runs = speed_runs("resnet56", size.image_runs, size.images)
            take = endless(made_pack(data, runs, settings, IMAGE_CLASSES, layout), way == "graph")
            take()
            per_second = size.image_runs * rate(take, 2 * size.seconds, device)
    except Exception as error:
        return {**row, "error": named_error(error)}
    seconds = size.images // size.image_batch / per_second
    times = {label: slow / seconds for label, slow in obvious.items()}
    return {**row, "seconds_per_epoch_and_run": seconds, "times_obvious": times}


def obvious_image_rate(data: Data, size: Sizes, device: torch.device, tf32: bool) -> float:
    """Steps per second of the obvious way."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = tf32
    try:
        steps = obvious_images(data, size.image, IMAGE_CLASSES, size.image_batch, device)
        for _ in range(2):
            next(steps)
        return rate(functools.partial(next, steps), 4 * size.seconds, device)
    finally:
        torch.backends.cudnn.allow_tf32 = before


def obvious_images(
    data: Data, shape: tuple[int, int, int], classes: int, batch: int, device: torch.device
) -> Iterator[None]:
    """One step of the obvious way each time it is asked."""
    network: nn.Module = models.network("resnet56", shape, classes).body.to(device)
    sgd = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, nesterov=True, weight_decay=1e-4)
    loader = DataLoader(
        TensorDataset(data.samples.cpu(), data.labels.cpu()), batch_size=batch, shuffle=True, drop_last=True
    )
    while True:
        for images, labels in loader:
            x, y = images.to(device), labels.to(device)
            logits: Tensor = network(x).logits
            sgd.zero_grad()
            F.cross_entropy(logits, y).backward()
            sgd.step()
            yield
