"""CPU time of a clip from samples to class on one thread: Python's features with the ONNX student, and one file, of each preset's student.

Weights do not change the time, so none are trained. All are measured in one run, one call of each in turn, so that what else the
machine does meets all alike; the times are of the calling thread's CPU. Printed: median and least in ms, the medians' ratio to those of
the paper's student, of which preset ``default`` has the Python path and ``device`` the one file, of one file to Python, and what was aimed at.

    python -m bench.sound_to_class [--presets default,device,small,tiny] [--repeats 60] [--int8]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from pipeline import config, features, models
from pipeline.config import FeatureSpec
from pipeline.deploy import export, latency
from pipeline.deploy.graph import INPUT, OUTPUT
from pipeline.deploy.int8 import quantised
from pipeline.deploy.one_file import Form, graph, unsuited
from pipeline.deploy.one_file.graph import SAMPLES

CLASSES = [f"class {number}" for number in range(10)]
PYTHON, ONE_FILE = "Python", "one file"
#: Of whose times the others are a share: preset and form.
REFERENCES = {PYTHON: ("default", PYTHON), ONE_FILE: ("device", ONE_FILE)}

#: What was aimed at, of the paper's student; of ``device`` as one file, of its own Python path.
GOALS = {("small", PYTHON): "0.5", ("tiny", PYTHON): "0.3", ("small", ONE_FILE): "0.7", ("tiny", ONE_FILE): "0.5"}
GOALS["device", ONE_FILE] = "1.5 of Python"


@dataclass(frozen=True)
class Times:
    """Of one way from samples to class, in ms of the thread's CPU."""

    median: float
    least: float


def sound(spec: FeatureSpec) -> np.ndarray:
    """(samples,) float32: a decaying tone in noise."""
    seconds = np.arange(spec.samples) / spec.sr
    tone = 0.3 * np.sin(2 * np.pi * 440 * seconds) * np.exp(-seconds)
    return (tone + 0.01 * np.random.default_rng(0).standard_normal(spec.samples)).astype(np.float32)


def ways(model: str, spec: FeatureSpec, *, int8: bool = False) -> dict[str, Callable[[], Any]]:
    """Form → a call from samples to logits with a network of ``model``; without the one file where the features allow none."""
    clip = sound(spec)[None]
    network = models.network(model, spec.shape, len(CLASSES)).eval()
    student = export.graph(network)
    kinds = {"": student.SerializeToString()}
    if int8:
        kinds[" int8"] = quantised(student, np.repeat(features.extract(clip, spec), 8, axis=0))
    calls: dict[str, Callable[[], Any]] = {}
    front = None if unsuited(spec) else graph.front(spec, spec.sr, half=False)
    for kind, content in kinds.items():
        session = export.session(content)
        calls[PYTHON + kind] = lambda session=session: session.run([OUTPUT], {INPUT: features.extract(clip, spec)})
        if front is not None:
            about = graph.described(spec, CLASSES, version="")
            form = Form(spec.sr, half=False, int8=bool(kind))
            whole = graph.joined(front, type(student).FromString(content), form, about).SerializeToString()
            one = export.session(whole)
            calls[ONE_FILE + kind] = lambda one=one: one.run([OUTPUT], {SAMPLES: clip})
    return calls


def measured(calls: Mapping[Any, Callable[[], Any]], repeats: int) -> dict[Any, Times]:
    """CPU times of all, one call of each in turn."""
    milliseconds: dict[Any, list[float]] = {key: [] for key in calls}
    with threadpool_limits(1), latency.torch_threads(1):
        for turn in range(repeats + 3):
            for key, call in calls.items():
                start = time.thread_time()
                call()
                if turn >= 3:  # after a warm-up
                    milliseconds[key].append(1000 * (time.thread_time() - start))
    return {key: Times(float(np.median(values)), min(values)) for key, values in milliseconds.items()}


def of_presets(names: Sequence[str], repeats: int, *, int8: bool = False) -> dict[tuple[str, str], Times]:
    """(preset, form) → times, of presets' names."""
    calls = {}
    for name in names:
        settings = config.read(name)
        for form, call in ways(settings.student.model, settings.features, int8=int8).items():
            calls[name, form] = call
    return measured(calls, repeats)


def table(times: Mapping[tuple[str, str], Times]) -> str:
    """Markdown. Shares are of medians."""
    rows = [["preset", "form", "CPU ms, median", "least", "of the paper's student", "of its Python path", "at most"]]
    rows.append(["---", "---", *["---:"] * 5])
    for (preset, form), one in times.items():
        reference = times.get(REFERENCES[PYTHON if form.startswith(PYTHON) else ONE_FILE])
        python = times.get((preset, form.replace(ONE_FILE, PYTHON))) if form.startswith(ONE_FILE) else None
        shares = [f"{one.median / other.median:.2f}" if other else "–" for other in (reference, python)]
        rows.append([preset, form, f"{one.median:.2f}", f"{one.least:.2f}", *shares, GOALS.get((preset, form), "–")])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", default="default,device,small,tiny")
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--int8", action="store_true", help="the students in 8-bit integers too")
    chosen = parser.parse_args()
    print(table(of_presets(chosen.presets.split(","), chosen.repeats, int8=chosen.int8)))
    print(f"\n{chosen.repeats} calls of each in turn, one thread, {latency.processor()}.")


if __name__ == "__main__":
    main()
