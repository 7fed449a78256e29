"""What the one-file forms say of the sounds of clips, held-out ones or a final student's own, beside what ``predict`` says; their times and memory."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soxr
from threadpoolctl import threadpool_limits

from pipeline import features
from pipeline.config import FeatureSpec, InputError
from pipeline.deploy import export, latency, prediction, sounds
from pipeline.deploy.answers import same_sets
from pipeline.deploy.graph import INPUT, OUTPUT
from pipeline.deploy.one_file import Form, memory
from pipeline.deploy.one_file.graph import SAMPLES
from pipeline.deploy.prediction import Checkpoint

if TYPE_CHECKING:
    import onnxruntime

#: Of the clips, that must get the same class of a file in float32.
AGREEMENT = 0.99

#: What the graph may need of a sound beyond the clip's length: the filter's reach, with room to spare.
AHEAD_SECONDS = 0.25


def proven(
    models: Mapping[Form, bytes],
    student: onnxruntime.InferenceSession,
    member: Checkpoint,
    paths: Sequence[Path],
    starts: Sequence[float],
    whose: str = "held-out",
) -> dict[str, Any]:
    """The proof of all forms on sound files, each from where its clip begins, in seconds: by form logits and classes against ``predict``, bytes, CPU ms, MiB.

    ``student``: the exported student, for the times of Python's features with it. Whole clips are those that fill the clip
    length, short ones are filled up with zeros. Where a form has another rate, the files are first resampled to it, and
    ``predict`` is asked about soxr's resampling of that. ``whose``: the clips, in words. Raises ``InputError`` where a float32 form gives other classes.
    """
    spec = member.spec
    files: dict[str, Any] = {}
    python_ms: list[float] = []
    whole = np.zeros(len(paths), bool)
    with threadpool_limits(1), latency.torch_threads(1):
        for rate in sorted({form.rate for form in models}):
            at_rate = {form: model for form, model in models.items() if form.rate == rate}
            answers = {form: Answers(model) for form, model in at_rate.items()}
            expected = []
            for place, (path, start) in enumerate(zip(paths, starts, strict=True)):
                sound = beginning(path, rate, spec, start)
                clip, whole[place] = as_clip(sound, rate, spec)
                expected.append(prediction.logits([member], clip[None])[0, 0])
                if rate == spec.sr:
                    python_ms.append(
                        thread_ms(lambda clip=clip: student.run(None, {INPUT: features.extract(clip[None], spec)}))
                    )
                for answer in answers.values():
                    answer.ask(sound)
            for form, answer in answers.items():
                compared = answer.compared(np.array(expected), whole, form, member.several, whose)
                peak = peak_memory(answer.model, round(spec.seconds * rate))
                files[form.file(spec)] = {"rate": rate, **compared, "peak_mib": peak}
    counts = {"whole": int(whole.sum()), "short": int((~whole).sum())}
    return {"clips": counts, "python_cpu_ms": spread(python_ms), "files": files}


class Answers:
    """A model, and what it said of one sound after the other."""

    def __init__(self, model: bytes) -> None:
        self.model, self.session = model, export.session(model)
        self.logits: list[np.ndarray] = []
        self.milliseconds: list[float] = []

    def ask(self, sound: np.ndarray) -> None:
        def run() -> None:
            self.logits.append(self.session.run([OUTPUT], {SAMPLES: sound[None]})[0][0])

        self.milliseconds.append(thread_ms(run))

    def compared(
        self, expected: np.ndarray, whole: np.ndarray, form: Form, several: bool, whose: str = "held-out"
    ) -> dict[str, Any]:
        """Against logits (clips, classes); ``whole`` (clips,): which fill the clip length. ``several``: equal are sets of classes."""
        logits = np.array(self.logits)
        worst, equal = np.abs(logits - expected).max(axis=1), logits.argmax(axis=1) == expected.argmax(axis=1)
        if several:
            equal = same_sets(logits, expected)
        if form.exact and not equal.mean() >= AGREEMENT:
            raise InputError(
                f"at {form.rate} Hz it gives {100 * (1 - equal.mean()):.1f} % of the {whose} clips another class than predict; "
                f"expected at most {100 * (1 - AGREEMENT):.0f} %: please report it with torch's and onnx's versions"
            )
        groups = {name: rows for name, rows in (("whole", whole), ("short", ~whole)) if rows.any()}
        return {
            "bytes": len(self.model),
            "worst_logit_difference": {name: float(worst[rows].max()) for name, rows in groups.items()},
            "median_logit_difference": {name: float(np.median(worst[rows])) for name, rows in groups.items()},
            "equal_classes": {name: float(equal[rows].mean()) for name, rows in groups.items()},
            "cpu_ms": spread(self.milliseconds),
            **({"compared": "classes"} if several else {}),
        }


def beginning(path: Path, rate: int, spec: FeatureSpec, start: float = 0.0) -> np.ndarray:
    """(n,) float32 of a sound file at ``rate`` from ``start`` seconds on: no more than a clip and what a resampling filter looks ahead."""
    first = round(start * rate)
    enough = first + round((spec.seconds + AHEAD_SECONDS) * rate)
    blocks, count = [], 0
    for block in sounds.sound_blocks(path, rate):
        blocks.append(block)
        count += len(block)
        if count >= enough:
            break
    return np.concatenate(blocks)[first:enough]


def as_clip(sound: np.ndarray, rate: int, spec: FeatureSpec) -> tuple[np.ndarray, bool]:
    """The samples (clip length,) of which ``predict`` makes features, resampled by soxr; and whether the sound fills them."""
    if rate != spec.sr:
        sound = soxr.resample(sound, rate, spec.sr, quality="HQ")
    part = sound[: spec.samples]
    return np.pad(part, (0, spec.samples - len(part))), len(part) >= spec.samples - spec.hop_length


def thread_ms(call: Any) -> float:
    """CPU time of the calling thread, which other processes do not lengthen much."""
    start = time.thread_time()
    call()
    return 1000 * (time.thread_time() - start)


def spread(milliseconds: Sequence[float]) -> dict[str, float]:
    return {"median": float(np.median(milliseconds)), "p90": float(np.percentile(milliseconds, 90))}


def peak_memory(model: bytes, samples: int) -> dict[str, float] | None:
    """MiB of a process that runs the file, and what session and runs add to it; None where the system does not tell."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        file.write_bytes(model)
        # -P: without this folder among the places that modules are looked for in.
        command = [sys.executable, "-P", memory.__file__, str(file), str(samples)]
        done = subprocess.run(command, capture_output=True, text=True)
    return json.loads(done.stdout) if done.returncode == 0 else None
