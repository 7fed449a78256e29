"""Equality: packs on the device, in each layout, against the loop over single runs on the CPU in float64.

Errors are ‖x − reference‖ / ‖reference‖ of a run, the largest of all runs: of the change of the weights and of batch
norm's statistics, and of the sums of the losses, after one step and after several (runs that end sooner are masked).
Float32 is judged by one step, where it may be off by 1e-3: from some ten steps on its rounding has grown chaotically
(0.5 was seen on a card and on a CPU alike). Float64 is judged by all steps, where it may be off by 1e-7 (5e-9 was seen on a card). Both are in the
table, and the CPU's own float32 loop too: what a layout is off by beyond that is the device's.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bench.gpu_packs import (
    Clock,
    Data,
    Sizes,
    every_mix,
    free,
    made_pack,
    made_up,
    named_error,
    runs_of,
    unfit,
    ways,
)
from pipeline import losses
from pipeline.config import TrainSettings
from pipeline.losses import LossMix
from pipeline.losses.learner import LAYOUTS
from pipeline.training import Run
from pipeline.training.graphs import graphed_step
from pipeline.training.step import step
from pipeline.training.tuning import tuned

#: Type → after which steps it is judged, and how far off it may be.
TOLERANCE = {torch.float32: ("one step", 1e-3), torch.float64: ("all steps", 1e-7)}

Snapshot = dict[str, Tensor]


def compare(size: Sizes, device: torch.device, clock: Clock) -> dict[str, Any]:
    """A row per network, layout, way and type; ``equal`` says whether all are within the tolerance."""
    rows: list[dict[str, Any]] = []
    for name in ("cnn2", "resnet18"):
        mixes = every_mix() if name == "cnn2" else [LossMix.parse("ce")] * size.teachers
        runs = runs_of(mixes, 8 * size.steps, less=8)
        data = made_up(8 * size.steps, size.shape, size.classes, torch.device("cpu"))
        settings = TrainSettings(model=name, lr=0.01)
        reference = trajectory(data, runs, settings, size, "cpu", torch.float64, "loop", False)
        cases = [("cpu", torch.float32, "loop", "eager")]
        cases += [(device.type, torch.float32, layout, way) for layout in LAYOUTS for way in ways(device)]
        cases = list(dict.fromkeys(cases))
        cases += [(device.type, torch.float64, layout, "eager") for layout in LAYOUTS]
        for where, dtype, layout, way in cases:
            if clock.left() < 2:
                rows.append({"network": name, "layout": layout, "way": way, "error": "the time of this part is up"})
                continue
            row = {
                "network": name,
                "device": where,
                "type": str(dtype)[6:],
                "layout": layout,
                "way": way,
                "runs": len(runs),
            }
            try:
                snapshots = trajectory(data, runs, settings, size, where, dtype, layout, way == "graph")
                row |= errors(snapshots, reference, dtype, runs)
            except Exception as error:
                row["error"] = named_error(error)
            rows.append(row)
            free(device)
    return {
        "tolerance": {str(dtype)[6:]: f"{most:g} after {when}" for dtype, (when, most) in TOLERANCE.items()},
        "steps": size.steps,
        "tf32": False,
        "losses": [str(mix) for mix in every_mix()],
        "not_compared_yet": {name: reason for name in losses.names() if (reason := unfit(name))},
        "equal": all(row["equal"] for row in rows if "equal" in row) and any("equal" in row for row in rows),
        "compared": f"{sum('equal' in row for row in rows)} of {len(rows)}",
        "rows": rows,
    }


def trajectory(
    data: Data,
    runs: list[Run],
    settings: TrainSettings,
    size: Sizes,
    device: str,
    dtype: torch.dtype,
    layout: str,
    graph: bool,
) -> list[Snapshot]:
    """What one and what all steps of an epoch changed, in float64 on the CPU."""
    target = torch.device(device)
    with tuned(target, False):
        pack = made_pack(data.to(target, dtype), runs, settings, size.classes, layout)
        before = pack.weights.clone()
        takes: dict[bool, Callable[[], None]] = {
            masked: functools.partial(step, pack, masked) for masked in (False, True)
        }
        if graph:
            # Which runs take part in a masked step, the loop asks the device: that cannot be captured.
            takes = {
                masked: take if masked and layout == "loop" else graphed_step(take, list(pack.written().values()))
                for masked, take in takes.items()
            }
        snapshots = []
        for done in range(1, size.steps + 1):
            takes[done > pack.tables.full]()
            if done in (1, size.steps):
                statistics = [
                    buffer.flatten(1) for name, buffer in pack.learner.statistics().items() if "running" in name
                ]
                parts = {"weights": pack.weights - before, "sums": pack.sums.t()}
                if statistics:
                    parts["batch norm"] = torch.cat(statistics, 1)
                snapshots.append({key: value.detach().double().cpu().clone() for key, value in parts.items()})
    return snapshots


def errors(snapshots: list[Snapshot], reference: list[Snapshot], dtype: torch.dtype, runs: list[Run]) -> dict[str, Any]:
    """The largest relative errors after one and after all steps, and the mix of the worst run."""
    judged, most = TOLERANCE[dtype]
    row: dict[str, Any] = {"equal": True}
    for when, ours, theirs in zip(("one step", "all steps"), snapshots, reference):
        row[when] = {}
        for key, value in theirs.items():
            off = (ours[key] - value).norm(dim=1) / value.norm(dim=1).clamp_min(1e-30)
            worst = int(torch.nan_to_num(off, nan=torch.inf).argmax())
            row[when][key] = float(off[worst])
            row["equal"] &= when != judged or bool(off[worst] <= most)
            if key == "weights":
                row[when]["worst mix"] = str(runs[worst].mix)
    return row
