"""A final student: trained, its threshold set, exported with proof, golden vectors and card."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile
import torch

from pipeline import audio, cache, features, models, places, runs
from pipeline.config import FeatureSpec, InputError, Settings
from pipeline.corpus import Corpus, made_up
from pipeline.corpus.clips import UNLABELLED
from pipeline.deploy import calibrated, export, prediction
from pipeline.deploy.answers import same_sets
from pipeline.deploy.choosing import PROOF, final_name, signed
from pipeline.deploy.export import FLOAT, INT8, TOLERANCE
from pipeline.deploy.final import present, training, unknown
from pipeline.deploy.final.card import card
from pipeline.deploy.final.expected import Expected, expected, held_out_runs
from pipeline.deploy.final.present import Present
from pipeline.deploy.graph import graph
from pipeline.deploy.int8 import quantised, way_of
from pipeline.engine.source import Source, of_corpus
from pipeline.figures import evaluation, refusing
from pipeline.files import json_bytes
from pipeline.losses import LossMix
from pipeline.models import Network
from pipeline.models.saved import network_of
from pipeline.runs import Record
from pipeline.runs import refusal as refusals
from pipeline.runs.refusal import Refusal
from pipeline.runs.weights import read_weights
from pipeline.train_settings import NO_FOLD

if TYPE_CHECKING:
    from pipeline.deploy.one_file import Form

GOLDEN, VECTORS, CARD = "golden.wav", "golden.npz", "CARD.md"

#: Training clips on whose sounds the one file is compared with ``predict``.
SOUNDS = 40

#: Training samples that fix the scales of int8 and are compared.
SAMPLES = 400


@dataclass(frozen=True)
class Final:
    """What came out."""

    run: Path
    export: Path
    expected: Expected
    none: Refusal | Present
    """What is none of the classes: below its threshold; of clips with several labels that in which none is found."""
    proof: Mapping[str, Any]


def final(
    corpus: Corpus,
    settings: Settings,
    mix: LossMix,
    exports_root: Path,
    *,
    seed: int,
    classes_left_out: bool,
    rates: Sequence[int] = (),
    half: bool = False,
    command: str,
    how: Mapping[str, Any],
) -> Final:
    """Train on all folds what is missing, and ship it. ``command`` trains the held-out runs; ``rates``, ``half``: forms of the one file, as of ``export``.

    Raises ``InputError``, before anything is trained, without the extra for ONNX, features, or held-out runs of the same settings, and
    for forms that cannot be, and a mix or settings that do not take the corpus' clips.
    """
    export.require_extra()
    wanted = forms_of(settings.features, rates, half)
    source = of_corpus(corpus, settings)
    levels = training.levels_of(corpus, settings, mix, NO_FOLD, seed)
    held_out = held_out_runs(levels[-1].runs[-1], source, places.runs(), command)
    for record in held_out:
        runs.read_predictions(record.folder)  # damage is told before hours of training
    folder = training.trained(levels, source, how)
    payload, record = read_weights(folder), runs.read(folder)
    network = network_of(payload)
    if corpus.label_sets:
        none: Refusal | Present = present.of(held_out, record.classes, network, settings.features)
    else:
        left_out = unknown.without_classes(corpus, settings, mix, source, seed, how) if classes_left_out else {}
        none = refusal_of(network, settings.features, held_out, record.result.weights, left_out)
        refusals.write(folder, none)
    figures = expected(held_out)
    contents, proof = shipped(network, settings.features, source, record.several_labels)
    files, proof["one_file"] = from_sound(contents, folder, corpus, source, wanted)
    present_told = {"present": none.told()} if isinstance(none, Present) else {}
    proof |= about(record, corpus, figures) | {"parameters": models.parameters(network)} | present_told
    contents |= {
        **files,
        "labels.json": labels(record),
        "features.json": json_bytes(export.described(payload, settings.features)),
        CARD: card(record, corpus, settings, figures, none, proof).encode(),
        **({refusals.NAME: (folder / refusals.NAME).read_bytes()} if isinstance(none, Refusal) else {}),
    }
    contents[PROOF] = json_bytes(proof := signed(proof, contents))
    target = exports_root / corpus.name / final_name(record)
    export.write_folder(target, contents)
    return Final(folder, target, figures, none, proof)


def labels(record: Record) -> bytes:
    """``labels.json``: the classes; of clips with several labels also how their probabilities are made, as an export has it."""
    return (
        calibrated.labels(record.classes, record, None) if record.several_labels else json_bytes(list(record.classes))
    )


def refusal_of(
    network: Network,
    spec: FeatureSpec,
    held_out: Sequence[Record],
    weights: str,
    unheard: unknown.Detected,
) -> Refusal:
    """The threshold by the clips of the ``held_out`` runs, fold by fold, and what it does. ``unheard``: to classes never heard."""
    by_fold = unknown.scores_by_fold(held_out)
    limit = refusing.threshold(np.concatenate(list(by_fold.values())))
    return Refusal(
        limit,
        refusing.SHARE,
        sum(map(len, by_fold.values())),
        refusing.refused_elsewhere(by_fold),
        weights,
        {**unknown.of_sounds(network, spec, limit, unknown.windows_of(held_out)), **unheard},
        unknown.windows_refused(held_out, limit),
    )


def about(record: Record, corpus: Corpus, figures: Expected) -> dict[str, Any]:
    """Which run is shipped, and what to expect of it."""
    return {
        "run": places.recorded(record.folder),
        "corpus": corpus.name,
        "dataset": corpus.dataset,
        "synthetic": corpus.synthetic,
        "model": record.model,
        "mix": record.mix_text,
        "fold": None,
        "seed": record.seed,
        "settings": record.digest,
        "weights": record.result.weights,
        "expected": figures.told(),
        "versions": export.versions(),
    }


def shipped(
    network: Network, spec: FeatureSpec, source: Source, several: bool
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """ONNX in float and int8 with golden vectors; and how far their outputs lie apart. ``InputError`` where ONNX says something else.

    ``several``: of clips with several labels.
    """
    samples = training_samples(source, SAMPLES)
    model = graph(network)
    contents = calibrated.marked({FLOAT: model.SerializeToString(), INT8: quantised(model, samples)}, None, several)
    golden, vectors = golden_vectors(network, spec)
    compared = np.concatenate([samples, vectors["features"]])
    logits = export.torch_logits(network, compared)
    floats, integers = (export.onnx_logits(contents[name], compared) for name in (FLOAT, INT8))
    worst = float(np.abs(floats - logits).max())
    if not worst < TOLERANCE:
        raise InputError(
            f"the ONNX model's logits differ from torch's by up to {worst:.2e}; expected less than {TOLERANCE:.0e}. Nothing was "
            "written; please report it with torch's and onnx's versions"
        )
    packed = io.BytesIO()
    np.savez(packed, features=vectors["features"], logits=logits[-1:], logits_int8=integers[-1:])
    proof = {
        "compared_samples": len(compared),
        "worst_logit_difference": worst,
        "tolerance": TOLERANCE,
        "worst_logit_difference_int8": float(np.abs(integers - floats).max()),
        "agreement_int8": float(same_sets(integers, floats).mean())
        if several
        else evaluation.agreement(integers, floats),
        "int8_in_float": way_of(contents[INT8]),
        "bytes": {name: len(content) for name, content in contents.items()},
    }
    return contents | {GOLDEN: golden, VECTORS: packed.getvalue()}, proof


def forms_of(spec: FeatureSpec, rates: Sequence[int], half: bool) -> list[Form]:
    """The forms asked for; ``InputError`` for a rate that cannot be resampled, and where others than the usual are of features that cannot
    be one file."""
    from pipeline.deploy.one_file import forms, unsuited  # onnx: an extra

    wanted = forms(spec, rates, half)
    if (rates or half) and (reason := unsuited(spec)):
        asked = " ".join([*(f"--rate {rate}" for rate in rates), *(["--half"] if half else [])])
        raise InputError(f"{asked}: {reason}")
    return wanted


def from_sound(
    students: Mapping[str, bytes], folder: Path, corpus: Corpus, source: Source, wanted: Sequence[Form]
) -> tuple[Mapping[str, bytes], dict[str, Any]]:
    """The student of ``folder`` from samples to class in one file, and its proof, or why there is none."""
    from pipeline.deploy.one_file import making  # onnx: an extra

    member = prediction.checkpoint(folder)
    of_kind = {False: students[FLOAT], True: students[INT8]}
    whole = making.proven_on(wanted, of_kind, member, lambda: spread_clips(corpus, source), "student's own")
    return whole.files, making.entry(whole)


def spread_clips(corpus: Corpus, source: Source) -> list[tuple[Path, float]]:
    """Files of ``SOUNDS`` clips, evenly over all that have features, and where in each its clip begins, in seconds."""
    assert isinstance(source.files, tuple)  # of sounds
    there = {name for path in source.files for name in cache.read_header(path).clips}
    clips = [clip for clip in corpus.clips if clip.name in there]
    places_of_clips = np.linspace(0, len(clips) - 1, min(SOUNDS, len(clips))).round().astype(int)
    return [(clips[place].path, clips[place].start or 0.0) for place in places_of_clips]


def training_samples(source: Source, count: int) -> np.ndarray:
    """(n, features, bins, frames) of all folds and views, evenly spread."""
    assert isinstance(source.files, tuple)  # of sounds
    paths = [path for path in source.files if cache.read_header(path).fold != UNLABELLED]
    parts = []
    for place, path in enumerate(paths):
        features = cache.read_fold(path).features
        rows = features.shape[0] * features.shape[1]
        share = count // len(paths) + (place < count % len(paths))
        spread = np.linspace(0, rows - 1, min(share, rows)).round().astype(int)
        parts.append(cache.rows_of(features, spread))
    return np.concatenate(parts)


def golden_vectors(network: Network, spec: FeatureSpec) -> tuple[bytes, dict[str, np.ndarray]]:
    """A made-up bark as a WAV of 16 bits, and its features as this program computes them of that file."""
    sound, _ = made_up.recording(3, np.random.default_rng(20))
    buffer = io.BytesIO()
    soundfile.write(buffer, unknown.fitted(0.5 * sound, spec), spec.sr, "PCM_16", format="WAV")
    samples, _ = soundfile.read(io.BytesIO(buffer.getvalue()), dtype="float32")
    clip = audio.reading.filled(samples, spec.samples, spec.short)
    values = features.extract(clip[np.newaxis], spec)
    with torch.no_grad():
        assert network(torch.from_numpy(values)).logits.isfinite().all()
    return buffer.getvalue(), {"features": values}
