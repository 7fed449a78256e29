"""Any ONNX audio classifier as a teacher: run over the corpus once, clip by clip and view by view; its answers as a teacher file.

The model takes samples, float32: (n,), (1, n) or (1, 1, n), of a fixed n or of any. What its metadata says counts, under these keys:
``sample_rate`` (in Hz), ``classes`` (JSON, or a name a line), ``trained_on`` (JSON: folds of this corpus that it has seen, []
where it has seen none). Outputs (…, D) are averaged over all axes but the last, for example over frames. The one that is as wide
as there are classes (of several the first, one called ``embedding`` last) is logits, of the corpus' classes alone; the embedding is
the one called so, else the widest other one, else the same. Probabilities become logits: log p where they sum to 1,
log p − log(1 − p) where they do not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.audio import ClipError, changing
from pipeline.audio.reading import read_sound
from pipeline.config import FeatureSpec, InputError, digest
from pipeline.corpus import Corpus
from pipeline.deploy.onnx_asked import (
    Asked,
    contents,
    input_of,
    labels_of,
    opened,
    rate_of,
    require_each_class_once,
    require_room,
    require_unseen,
    trained_on_of,
)
from pipeline.locks import locked
from pipeline.plurals import many
from pipeline.teacher_files.fitting import Clips
from pipeline.teacher_files.reading import read
from pipeline.teacher_files.schema import FOLDER, TeacherFile
from pipeline.teacher_files.writing import write

#: The least probability whose logarithm is taken.
LEAST = 1e-7

#: How far a sum of probabilities may be from 1.
ROUNDING = 1e-3

#: Clips between two lines of progress.
TOLD = 500


def teacher_file(
    asked: Asked, corpus: Corpus, clips: Clips, spec: FeatureSpec, cache: Path, say: Callable[[str], None]
) -> Path:
    """The teacher file of a model, in the cache; made where it is not there yet.

    Raises ``InputError`` for a model that onnxruntime cannot read, or that takes or gives anything else than above.
    """
    session = opened(asked.path)
    metadata = dict(session.get_modelmeta().custom_metadata_map)
    rate = rate_of(asked, metadata)
    length, rank = input_of(session, asked.path)
    samples = length or round(rate * corpus.seconds)
    require_room(asked.path, samples, len(spec.view_names))
    labels, trained_on = labels_of(asked, metadata), trained_on_of(asked, metadata)
    require_each_class_once(asked.path, labels, clips.classes)
    if trained_on is None and not asked.trust:  # before hours of listening
        raise InputError(
            f"{asked.path} does not say which folds of this corpus it was trained on; expected --teacher-trained-on, for example "
            "none or 2,3, or --trust-teacher: every table then says so"
        )
    require_unseen(asked, trained_on or [], corpus)
    about = [*contents(asked.path), rate, samples, labels, trained_on, spec.noise_std, spec.noise_seed, spec.view_names]
    key = digest(*about, clips.classes, sorted((int(fold), of) for fold, of in clips.digests.items()))
    target = cache / corpus.name / FOLDER / f"{asked.path.stem}-{key}.npz"
    with locked(target, f"{target}"):
        if is_kept(target, asked.path, session, rank, samples, labels, say):
            return target
        say(
            f"{asked.path}: {many(len(clips.names), 'clip')}, {many(len(spec.view_names), 'view')} each, {many(samples, 'sample')} at {rate} Hz → {target}"
        )
        answers = answered(session, rank, corpus, clips, spec, rate, samples, say)
        outputs, notes = named(answers, labels, clips.classes, asked.path)
        for note in notes:
            say(f"{asked.path}: {note}")
        arrays = {
            "clip": np.array(clips.names, dtype=np.str_),
            "view": np.array(spec.view_names, dtype=np.str_),
            "clip_fold": clips.folds.astype(np.int64),
            **outputs,
            **({"classes": np.array(clips.classes, dtype=np.str_)} if "logits" in outputs else {}),
            **({} if trained_on is None else {"trained_on": np.array(trained_on, np.int64)}),
        }
        write(target, arrays)
    return target


def answered(
    session: Any,
    rank: int,
    corpus: Corpus,
    clips: Clips,
    spec: FeatureSpec,
    rate: int,
    samples: int,
    say: Callable[[str], None],
) -> dict[str, np.ndarray]:
    """Output → (clips, views, D) float32, by one clip and view after the other."""
    where = {clip.name: clip for clip in corpus.clips}
    name = session.get_inputs()[0].name
    outputs = [output.name for output in session.get_outputs()]
    answers: dict[str, list[np.ndarray]] = {output: [] for output in outputs}
    for done, clip in enumerate(clips.names, 1):
        try:
            begins = where[clip].start or 0.0
            sound = read_sound(where[clip].path, sr=rate, samples=samples, seconds=where[clip].seconds, start=begins)
        except (ClipError, KeyError) as error:
            raise InputError(
                f"{clip}: cannot be read any more ({error}); expected the clips that have features"
            ) from None
        for view in changing.views(sound, clip, spec, rate=rate, samples=samples, short="pad"):
            try:
                told = session.run(outputs, {name: view.astype(np.float32).reshape((1,) * (rank - 1) + (-1,))})
            except Exception as error:
                reason = " ".join(str(error).split())
                raise InputError(f"the model cannot take {samples} samples of {clip} ({reason[:160]})") from None
            for output, values in zip(outputs, told):
                answers[output].append(averaged(f"output {output!r} of {clip}", values))
        if done % TOLD == 0:
            say(f"  {done:,} of {many(len(clips.names), 'clip')}")
    whole = {}
    for output, each in answers.items():
        if len({one.shape for one in each}) != 1:
            raise InputError(f"output {output!r} changes its width from clip to clip; expected one width")
        whole[output] = np.stack(each).reshape(len(clips.names), len(spec.view_names), -1)
    return whole


def is_kept(
    target: Path,
    model: Path,
    session: Any,
    rank: int,
    samples: int,
    labels: Sequence[str],
    say: Callable[[str], None],
) -> bool:
    """Whether the answers of a model are there as this version takes them; what is there is said."""
    if not target.is_file():
        return False
    try:
        file = read(target)
    except InputError as error:
        say(f"{error.args[0].partition('; ')[0]}: they are asked for again")
        return False
    if took_embedding_for_logits(file, session, rank, samples, labels):
        say(f"{target} has logits of the output 'embedding', as earlier versions took them: they are asked for again")
        return False
    say(f"{model}: its answers are in {target}")
    return True


def took_embedding_for_logits(file: TeacherFile, session: Any, rank: int, samples: int, labels: Sequence[str]) -> bool:
    """Whether the logits of a kept file are those of an output ``embedding``, and another output is as wide as there are classes."""
    if "logits" not in file.outputs or file.outputs["embedding"].shape[-1] != len(labels):
        return False
    columns = [list(labels).index(name) for name in file.classes]
    if not np.array_equal(file.outputs["logits"], as_logits(file.outputs["embedding"])[0][..., columns]):
        return False
    silence = np.zeros((1,) * (rank - 1) + (samples,), np.float32)
    answers = session.run(None, {session.get_inputs()[0].name: silence})
    names = [output.name for output in session.get_outputs()]
    wide = [name for name, values in zip(names, answers) if np.shape(values)[-1:] == (len(labels),)]
    return "embedding" in wide and len(wide) > 1


def averaged(output: str, values: Any) -> np.ndarray:
    """(…, D) → (D,) float32, the mean over all other axes. ``output``: what a message calls it."""
    values = np.asarray(values)
    if values.dtype.kind != "f" or values.ndim < 1 or not values.size:
        raise InputError(f"{output} is {values.dtype} {values.shape}; expected floating point numbers (…, D)")
    mean = values.reshape(-1, values.shape[-1]).mean(0, dtype=np.float64)
    if not np.isfinite(mean).all():
        raise InputError(f"{output} is not finite; expected finite numbers")
    return mean.astype(np.float32)


def named(
    answers: Mapping[str, np.ndarray], labels: Sequence[str], classes: Sequence[str], path: Path
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The outputs as embedding and, where the classes match by name, logits (clips, views, C); and lines on what was taken."""
    wide = [name for name, values in answers.items() if len(labels) == values.shape[-1]]
    fitting = sorted(wide, key=lambda name: name == "embedding")  # an embedding may be as wide as there are classes
    missing = [name for name in classes if name not in labels]
    others = sorted((name for name in answers if name not in fitting[:1]), key=lambda name: answers[name].shape[-1])
    embedding = "embedding" if "embedding" in answers else others[-1] if others else next(iter(answers))
    outputs, notes = {"embedding": answers[embedding]}, [f"embedding: output {embedding!r}"]
    if fitting and not missing:
        columns = [list(labels).index(name) for name in classes]
        logits, kind = as_logits(answers[fitting[0]])
        outputs["logits"] = logits[..., columns]
        notes.append(f"logits: output {fitting[0]!r}, {len(classes)} of its {len(labels)} classes, {kind}")
    else:
        why = f"it has no class {missing[0]!r}" if labels and missing else "nothing says what its classes are"
        why = why if not labels or missing else f"none of its outputs is {len(labels)} wide"
        notes.append(f"no logits: {why}; terms that read logits cannot learn from it")
    return outputs, notes


def as_logits(values: np.ndarray) -> tuple[np.ndarray, str]:
    """What a softmax can be taken of, and what it was made of."""
    if values.min() < 0 or values.max() > 1:
        return values, "as they are"
    if np.abs(values.sum(-1) - 1).max() < ROUNDING:
        return np.log(np.maximum(values, LEAST)), "log p of its probabilities"
    inside = np.clip(values, LEAST, 1 - LEAST)
    return np.log(inside) - np.log1p(-inside), "log p − log(1 − p) of its probabilities, one for each class"
