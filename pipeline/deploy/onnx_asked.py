"""What an ONNX teacher says of itself and takes, and what is refused of it before it hears a clip."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import InputError
from pipeline.corpus import Corpus
from pipeline.extras import install_line
from pipeline.files import sha256
from pipeline.processes.memory import free_memory

#: In the bytes of a model: how long the name of a file beside it is that holds weights, in one or two groups of 7 bits. The name follows.
ELSEWHERE = re.compile(rb"\n\x08location\x12([\x01-\x7f]|[\x80-\xff][\x01-\x7f])", re.DOTALL)


@dataclass(frozen=True)
class Asked:
    """What a user says of a model beside its metadata."""

    path: Path
    rate: int | None = None
    labels: Path | None = None
    trained_on: tuple[int, ...] | None = None
    trust: bool = False
    """Whether it teaches though nothing says what it was trained on."""
    folds: tuple[int, ...] = ()
    """Held-out folds whose students have no other teacher."""


def opened(path: Path) -> Any:
    """An onnxruntime session on the CPU."""
    try:
        import onnxruntime
    except ImportError:
        raise InputError(f"--teacher-onnx needs the package onnxruntime; {install_line('export')}") from None
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected an ONNX model")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has its own for each kind of damage
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: onnxruntime cannot read it ({reason[:160]}); expected an ONNX model") from None


def contents(path: Path) -> list[str]:
    """SHA-256 of a model's file, and of those beside it that hold weights of it."""
    whole = path.read_bytes()
    names = {
        whole[found.end() : found.end() + sum((byte & 127) << 7 * place for place, byte in enumerate(found[1]))]
        for found in ELSEWHERE.finditer(whole)
    }
    beside = [path.parent / os.fsdecode(name) for name in sorted(names) if b"\0" not in name]
    return [sha256(path), *(sha256(file) for file in beside if is_file(file))]


def is_file(path: Path) -> bool:
    """As ``Path.is_file``; no for a name that no file can have: among weights any bytes may look like one."""
    try:
        return path.is_file()
    except OSError:
        return False


def rate_of(asked: Asked, metadata: Mapping[str, str]) -> int:
    """Samples per second that the model takes: as asked, else as its metadata says."""
    rate = metadata.get("sample_rate", "")
    if asked.rate:
        return asked.rate
    if len(rate) < 20 and rate.strip().isdecimal() and 1000 <= int(rate) <= 768_000:
        return int(rate)
    raise InputError(
        f"{asked.path} does not say which rate its samples have (metadata sample_rate: {rate[:80] or 'none'}); expected "
        "--teacher-rate, for example --teacher-rate 32000"
    )


def input_of(session: Any, path: Path) -> tuple[int, int]:
    """Samples that the one input takes (0: any number), and how many axes it has."""
    inputs = session.get_inputs()
    shown = ", ".join(f"{one.name} {one.type} {one.shape}" for one in inputs)
    if len(inputs) != 1 or inputs[0].type != "tensor(float)" or not 1 <= len(inputs[0].shape) <= 3:
        raise InputError(f"{path} takes {shown}; expected one input of float32 samples: (n,), (1, n) or (1, 1, n)")
    *front, last = inputs[0].shape
    if any(isinstance(size, int) and size != 1 for size in front):
        raise InputError(f"{path} takes {shown}; expected one clip at a time, (1, n), or any number of them")
    return (last if isinstance(last, int) else 0), len(inputs[0].shape)


def require_room(path: Path, samples: int, views: int) -> None:
    """``InputError`` for more samples than there is memory for, before a clip is filled up to them."""
    if (size := 4 * samples * (views + 2)) > (free := free_memory()):
        raise InputError(
            f"{path} takes {samples:,} samples, {size / 1e9:.1f} GB for the views of a clip, and {free / 1e9:.1f} GB of memory are free; "
            "expected a model of shorter sounds, or of any number of samples"
        )


def labels_of(asked: Asked, metadata: Mapping[str, str]) -> list[str]:
    """The names of its classes, in the order of its outputs; [] where nothing says."""
    text = metadata.get("classes", "")
    if asked.labels:
        try:
            text = asked.labels.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{asked.labels}: cannot be read ({error}); expected text, a class a line") from None
    try:
        names = json.loads(text)
    except (ValueError, RecursionError):
        names = [line.strip() for line in text.splitlines() if line.strip()]
    return [str(name) for name in names] if isinstance(names, list) else []


def require_each_class_once(path: Path, labels: Sequence[str], classes: Sequence[str]) -> None:
    """``InputError`` for a class of the corpus that two outputs are called by: nobody knows which of them is meant."""
    if double := sorted(name for name in classes if labels.count(name) > 1):
        raise InputError(f"{path}: class {double[0]!r} is there twice; expected each of the corpus' classes once")


def trained_on_of(asked: Asked, metadata: Mapping[str, str]) -> list[int] | None:
    """The folds of this corpus that it has seen; None where nothing says."""
    if asked.trained_on is not None:
        return sorted(asked.trained_on)
    if "trained_on" not in metadata:
        return None
    try:
        folds = json.loads(metadata["trained_on"])
    except (ValueError, RecursionError):
        folds = None
    if not isinstance(folds, list) or any(type(fold) is not int for fold in folds):  # no text, no 1.5, no true
        raise InputError(
            f"{asked.path}: metadata trained_on = {metadata['trained_on'][:80]!r}; expected a JSON list of folds, for example [1, 2]"
        )
    return sorted(folds)


def require_unseen(asked: Asked, trained_on: Sequence[int], corpus: Corpus) -> None:
    """``InputError``, before hours of listening, for folds that are none, and for held-out ones that the model has seen."""
    known = {*corpus.all_folds, *(clip.fold for clip in corpus.clips)}
    if unknown := sorted(set(trained_on) - known):
        raise InputError(
            f"{asked.path} names fold {unknown[0]}, and the corpus has {' '.join(map(str, sorted(known)))}; expected the corpus' own "
            "numbers"
        )
    if seen := [fold for fold in asked.folds if fold in trained_on]:
        raise InputError(
            f"fold {seen[0]} is held out, and {asked.path} was trained on it; expected a model that has not seen it, or --folds of "
            "others"
        )
