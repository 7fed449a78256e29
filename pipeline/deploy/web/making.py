"""The page of an export: its models, examples with Python's answers, and the two forms of it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import soundfile

from pipeline import __version__, cache, config, runs
from pipeline.cache import Header
from pipeline.config import FeatureSpec, InputError
from pipeline.corpus.clips import UNLABELLED
from pipeline.deploy import calibrated, export, prediction
from pipeline.deploy.answers import NONE, PRESENT
from pipeline.deploy.choosing import PROOF, existing, how_to_export, run_folder, signed
from pipeline.deploy.graph import INPUT
from pipeline.deploy.one_file import NAME, making, proof
from pipeline.deploy.prediction import Checkpoint
from pipeline.deploy.web import runtime
from pipeline.files import json_bytes
from pipeline.runs import Record
from pipeline.runs.held_out import of_all_folds
from pipeline.runs.own_clips import of_fold
from pipeline.runs.weights import read_weights

#: Of the folder, and of the file that holds all.
INDEX, WHOLE = "index.html", f"{NAME}.html"

LICENCE = "LICENSE.onnxruntime-web.txt"

#: What an export's proof says of its run; of one of all folds the last.
OF_RUN = ("run", "model_sha256", "weights")

#: Put into the page one after the other.
SCRIPTS = ("sound.js", "microphone.js", "page.js")


@dataclass(frozen=True)
class Example:
    """A held-out clip, and what Python says of it."""

    name: str
    label: str
    wav: bytes
    logits: tuple[float, ...]
    probabilities: tuple[float, ...]


def write(
    run: Path,
    cache_root: Path,
    exports_root: Path,
    *,
    examples: int = 20,
    data: Path | None = None,
    say: Callable[[str], None] = print,
) -> Path:
    """Write ``web/`` into the export of a run; the result is that folder.

    ``examples``: clips of the held-out fold, of all classes in turn; of a student of all folds, clips of the first, which it has heard; ``data``: the corpus' folder where it is not in its usual place.
    Raises ``InputError`` for a run that is not exported as one file, without the held-out sounds, and as ``runtime.runtime``.
    """
    export.require_extra()
    source = run_folder(run)
    record = runs.read(source)
    folder, proven = exported(exports_root, record)
    member = calibrated.as_exported(prediction.checkpoint(source), proven)
    spec = config.build(FeatureSpec, read_weights(source)["features"], str(source))
    models = page_models(folder, how_to_export(record))
    shown = min(set(record.data) - {UNLABELLED}) if of_all_folds(record) else record.fold
    fold = cache.read_header(cache.fold_path(cache_root, record.corpus, spec, shown))
    clips = answered(member, fold, making.sound_files(fold, data), examples, of_fold(record, fold))
    parts = runtime.runtime(exports_root / f".{runtime.PACKAGE}-{runtime.VERSION}", say)
    files = {
        **parts,
        **{model_name(rate): model for rate, model in models.items()},
        **{example_file(place): clip.wav for place, clip in enumerate(clips)},
    }
    about = described(member, record.fold, shown, models, clips, files)
    licence = static(LICENCE)
    contents = {
        **files,
        INDEX: page(about, {}, licence).encode(),
        WHOLE: page(about, files, licence).encode(),
        LICENCE: licence.encode(),
    }
    about_run: dict[str, Any] = {name: proven[name] for name in OF_RUN if name in proven}
    contents[PROOF] = json_bytes(signed(about_run, contents))
    export.write_folder(folder / "web", contents)
    return folder / "web"


def exported(exports_root: Path, record: Record) -> tuple[Path, dict[str, Any]]:
    """The export of a run, and its proof. ``InputError`` where it is not there, or has no one file."""
    there = existing(exports_root, record)
    if there is None:
        how = f"{how_to_export(record)} --rate 44100 --rate 48000"
        corpus = ", with the corpus and --set of its training" if of_all_folds(record) else ""
        raise InputError(f"{record.folder}: not in {exports_root}/; export it first: {how}{corpus}")
    folder, proven = there
    if reason := proven.get(making.ENTRY, {}).get(
        "refused", "" if making.ENTRY in proven else "exported by an earlier version"
    ):
        raise InputError(f"{folder}: no {NAME}.onnx for a page: {reason}")
    return there


def page_models(folder: Path, again: str) -> dict[int, bytes]:
    """Rate → the float32 file of an export, which here gives its features too, to be looked at. ``again``: the command that exports it."""
    models = {}
    for path in sorted(folder.glob(f"{NAME}*.onnx")):
        if path.name.removesuffix(".onnx").endswith((".half", ".int8")):
            continue
        model = onnx.load(path)
        if not any(INPUT in node.output for node in model.graph.node):
            raise InputError(
                f"{path}: written by an earlier version, without its features by name; export the run again: {again}"
            )
        model.graph.output.append(onnx.helper.make_tensor_value_info(INPUT, onnx.TensorProto.FLOAT, None))
        rate = next(int(one.value) for one in model.metadata_props if one.key == "rate")
        models[rate] = model.SerializeToString()
    if not models:
        raise InputError(f"{folder}: no {NAME}.onnx in it; export the run again: {again}")
    return models


def model_name(rate: int) -> str:
    return f"{NAME}.{rate}.onnx"


def example_file(place: int) -> str:
    return f"examples/{place + 1:02d}.wav"


def answered(
    member: Checkpoint, header: Header, paths: Sequence[Path], count: int, known: tuple[np.ndarray, np.ndarray]
) -> list[Example]:
    """``count`` clips at the features' rate in 16 bits, cut to the clip length, with ``predict``'s answers to these files;
    of long recordings the window that each is.

    ``known``: places of the clips of its classes, and their labels as it has them."""
    spec, examples, starts = member.spec, [], making.starts(header)
    for index in in_turn(known[1].tolist(), count):
        place = known[0][index]
        sound = proof.beginning(paths[place], spec.sr, spec, starts[place])[: spec.samples]
        file = io.BytesIO()
        soundfile.write(file, np.clip(sound, -1, 1), spec.sr, subtype="PCM_16", format="WAV")
        samples, _ = soundfile.read(io.BytesIO(file.getvalue()), dtype="float32")
        answer = prediction.predict([member], [samples])
        examples.append(
            Example(
                header.clips[place],
                header.label_names[place] if member.several else member.classes[known[1][index]],
                file.getvalue(),
                tuple(answer.logits[0, 0].tolist()),
                tuple(answer.probabilities.mean(axis=0).tolist()),
            )
        )
    return examples


def in_turn(labels: Sequence[int], count: int) -> list[int]:
    """At most ``count`` places: the first clip of every class, then the second of every class, and so on."""
    rounds: dict[int, int] = {}
    order = []
    for place, label in enumerate(labels):
        rounds[label] = rounds.get(label, -1) + 1
        order.append((rounds[label], label, place))
    return [place for _, _, place in sorted(order)[:count]]


def described(
    member: Checkpoint,
    held_out: int,
    fold: int,
    models: Mapping[int, bytes],
    clips: Sequence[Example],
    files: Mapping[str, bytes],
) -> dict[str, Any]:
    """What the page's script reads. ``fold``: of the examples."""
    spec = member.spec
    picture = "melspectrogram" if "melspectrogram" in spec.names else spec.names[0]
    return {
        "classes": list(member.classes),
        "corpus": member.corpus,
        "synthetic": member.synthetic,
        "network": member.name,
        "fold": fold,
        "heard": fold != held_out,
        "threshold": PRESENT if member.several else member.threshold,
        "several": member.several,
        "none": NONE,
        "version": __version__,
        "seconds": spec.seconds,
        "slack": spec.hop_length / spec.sr,
        "rate": spec.sr,
        "picture": {"name": picture, "plane": spec.names.index(picture)},
        "models": {str(rate): model_name(rate) for rate in models},
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        "runtime": {"script": runtime.SCRIPT, "wasm": runtime.WASM},
        "examples": [
            {
                "file": example_file(place),
                "name": clip.name,
                "label": clip.label,
                "logits": clip.logits,
                "probabilities": clip.probabilities,
            }
            for place, clip in enumerate(clips)
        ],
    }


def page(about: Mapping[str, Any], inside: Mapping[str, bytes], licence: str) -> str:
    """The HTML, with the files ``inside`` in it; others lie beside it."""
    files = "\n".join(
        f'<script type="text/plain" id="file:{escape(name)}">{base64.b64encode(content).decode()}</script>'
        for name, content in inside.items()
    )
    values = {
        "style": static("page.css"),
        "script": "\n".join(static(name) for name in SCRIPTS),
        # A class may be called "</script>".
        "about": json.dumps(about, ensure_ascii=False).replace("<", "\\u003c"),
        "runtime": runtime.VERSION,
        "licence": escape(licence),
        "files": files,
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], static("page.html"))


def static(name: str) -> str:
    """A file of this package."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")
