"""``fit``: checks its arguments, finds the checkpoint to go on from, and trains the pack."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline import config, losses, models, samplers
from pipeline.config import NO_FOLD, InputError, TrainSettings
from pipeline.listed import modules
from pipeline.losses import LossMix, library, views
from pipeline.losses.adapting import shapes
from pipeline.losses.learner import Learner
from pipeline.losses.mix import union
from pipeline.losses.mixable import taught_live
from pipeline.losses.reused import require_fetched
from pipeline.losses.several import require_several
from pipeline.losses.unlabelled import require_unlabelled
from pipeline.models import Network
from pipeline.models.freezing import require_modules
from pipeline.models.outputs import VECTORS, lacking
from pipeline.plurals import many
from pipeline.training import checkpoint as files
from pipeline.training import from_files
from pipeline.training.draws import draws_tables
from pipeline.training.labels import known_labels, places_of, targets_of, weights_of
from pipeline.training.lessons import lessons_of
from pipeline.training.loop import Loop
from pipeline.training.memory import recollection
from pipeline.training.normalisation import normalisation
from pipeline.training.peers import Peers, require_no_listener
from pipeline.training.pools import chosen_pools
from pipeline.training.sampling import epoch_tables
from pipeline.training.starting import begun, go_on, take_output_layers
from pipeline.training.step import Augment, Pack, Teaching, threads
from pipeline.training.task import Run, Trained
from pipeline.training.teaching import Stored
from pipeline.training.tuning import tuned


def fit(
    samples: Tensor,
    labels: Tensor,
    runs: Sequence[Run],
    settings: TrainSettings,
    *,
    classes: int,
    teaching: Teaching | None = None,
    device: torch.device | str | None = None,
    layout: str | None = None,
    checkpoint: Path | None = None,
    checkpoint_seconds: float = 300.0,
    on_epoch: Callable[[int, dict[str, Any]], None] | None = None,
    augment: Augment | None = None,
    per: str = "bin",
    say: Callable[[str], None] | None = None,
    until: int | None = None,
) -> list[Trained]:
    """Train ``runs`` together; they share ``settings`` and nothing else. Returns one ``Trained`` per run, in order.

    samples (rows, C, H, W) float32 or bfloat16, labels (rows,) int64: moved to ``device`` unless they are there.
    Only rows of the runs' tasks are read. ``layout``: see ``pipeline.losses.learner``; by default ``loop`` on a CPU and
    ``vmap`` on a GPU. ``on_epoch(run index, record)`` is called after each epoch; the record holds epoch (from 1), lr (of the last
    step), loss, terms {key: {raw, weighted}}, train_accuracy (means over the epoch's steps), accuracy and test_loss (cross-entropy) of the
    test rows, seconds; of clips with several labels "map", their mean average precision, in place of both accuracies. A run whose loss
    stops being finite ends with ``Trained.failure``; the others go on. ``per``: as ``normalisation`` takes it.
    ``until``: the epoch behind which it is left for now; a later call goes on from the checkpoint.
    ``checkpoint``: file to go on from where it fits this call (settings, runs, data, torch), and to write every
    ``checkpoint_seconds`` and at the end. A call that goes on gives the same numbers as one that was never stopped:
    bit for bit on the CPU. It keeps the checkpoint's layout. Raises ``Interrupted`` on Ctrl-C, ``InputError`` for
    what does not fit together, ``torch.cuda.OutOfMemoryError`` where the pack is too large.
    """
    say = say or (lambda line: print(line, file=sys.stderr, flush=True))
    device = samples.device if device is None else torch.device(device)
    samples, labels = samples.to(device), labels.to(device)
    teaching = None if teaching is None else teaching.to(device)
    check(samples, labels, runs, settings, classes, teaching)
    runs = chosen_pools(samples, runs, settings, teaching)
    statistics = standardisation(samples, runs, per)
    key = identity(samples, labels, runs, settings, classes, teaching, statistics)
    saved = resumable(checkpoint, key, say)
    layout = saved["layout"] if saved else layout or ("loop" if device.type == "cpu" else "vmap")
    with tuned(device, settings.tf32), threads(layout, len(runs)) as workers:
        pack = packed(samples, labels, runs, settings, classes, teaching, layout, statistics, augment)
        pack.learner.workers = workers
        loop = Loop(pack, runs, settings, checkpoint, key, checkpoint_seconds, on_epoch, until)
        if saved:
            loop.restore(saved)
            say(f"going on from {checkpoint}: epoch {loop.progress.epoch + 1}, step {loop.progress.done}")
        return loop.run()


def standardisation(samples: Tensor, runs: Sequence[Run], per: str = "bin") -> list[tuple[Tensor, Tensor]]:
    """``normalisation`` of every run, over all its rows, without labels too; runs that train on the same rows share it."""
    rows = {run.task.rows.tobytes(): run.task.rows for run in runs}
    with threads("loop", len(rows)) as workers:
        spread = map if workers is None or samples.device.type != "cpu" else workers.map
        each = spread(lambda train: normalisation(samples, train, per), rows.values())
        statistics = dict(zip(rows, each))
    return [statistics[run.task.rows.tobytes()] for run in runs]


def check(
    samples: Tensor,
    labels: Tensor,
    runs: Sequence[Run],
    settings: TrainSettings,
    classes: int,
    teaching: Teaching | None,
) -> None:
    """Raise ``InputError`` for arguments that do not fit together."""
    if not runs:
        raise InputError("no runs to train; expected at least one")
    check_views(runs, teaching)
    if samples.ndim != 4 or labels.shape != samples.shape[:1]:
        raise InputError(
            f"samples {tuple(samples.shape)} and labels {tuple(labels.shape)}; expected (rows, C, H, W) and (rows,)"
        )
    for run in runs:
        run.mix.require_classes(classes)
        run.mix.require(settings, based=True)  # what teachers say is looked at below
        if (settings.views == "random") != (run.task.views > 1):
            raise InputError(
                f"fold {run.fold}: views = {settings.views!r} and a task of {many(run.task.views, 'view')} of each clip in an epoch; expected "
                "'random' for several, 'all' for one"
            )
        if settings.mixup and isinstance(teaching, Stored) and taught_live(run.mix):
            raise InputError(
                f"fold {run.fold}, mixup = {settings.mixup:g}: what was computed once of a teacher says nothing of mixed inputs but logits; "
                f"expected teachers that run in every step (Live) for mix {run.mix}"
            )
        if run.task.unlabelled is None:
            require_unlabelled(run.mix, settings, f"fold {run.fold}, ")
        if run.task.targets is not None:
            require_several(run.mix, settings)
        if settings.label_noise and classes < 2:
            raise InputError(f"label_noise = {settings.label_noise:g}: {classes} class; expected two at least, or 0")
        if run.mix.needs_teacher and not run.cohort and (teaching is None or not 0 <= run.teacher < len(teaching)):
            raise InputError(f"fold {run.fold}, mix {run.mix}: no teacher {run.teacher}; expected its outputs")
        for name, rows in (("training", run.task.rows), ("test", run.task.test)):
            untested = name == "test" and run.fold == NO_FOLD and len(rows) == 0
            if not untested and (len(rows) == 0 or rows.min() < 0 or rows.max() >= len(samples)):
                raise InputError(
                    f"fold {run.fold}: {len(rows)} {name} rows; expected at least one, each from 0 to {len(samples) - 1}"
                )
        require_classes(run, labels, classes)
        known = run.task.known(labels.cpu().numpy())[run.task.train]
        count = classes if run.task.targets is None else len(run.task.targets)
        if not len(known) or known.min() < 0 or known.max() >= count:
            those = f"{known.min()} to {known.max()}" if len(known) else "none"
            raise InputError(f"fold {run.fold}: labels {those}; expected 0 to {count - 1}")
        from_files.check(samples, run.task.test)


def check_views(runs: Sequence[Run], teaching: Teaching | None) -> None:
    """``InputError`` where runs of two views of each clip and of one are in a pack, and where stored answers know nothing of the second."""
    for run in runs:
        if views.two(run.mix) != views.two(runs[0].mix):
            raise InputError(
                f"fold {run.fold}, mix {run.mix}: runs of two views of each clip and of one in a pack; expected packs of their own"
            )
        if views.two(run.mix) and isinstance(teaching, Stored) and run.mix.needs_teacher:
            raise InputError(
                f"fold {run.fold}, mix {run.mix}: what was computed once of a teacher says nothing of a second view of a clip; "
                "expected teachers that run in every step (Live)"
            )


def require_classes(run: Run, labels: Tensor, classes: int) -> None:
    """``InputError`` where a run's classes are not as many as the networks have outputs, or a test row is of another one."""
    own = run.task.classes
    if own is None:
        return
    if len(own) != classes:
        raise InputError(
            f"fold {run.fold}: a task of {many(len(own), 'class')}, and networks of {classes}; expected as many"
        )
    if (run.task.places(labels.cpu().numpy()[run.task.test]) < 0).any():
        raise InputError(f"fold {run.fold}: a test row of no class of its task; expected rows of {own} alone")


def identity(
    samples: Tensor,
    labels: Tensor,
    runs: Sequence[Run],
    settings: TrainSettings,
    classes: int,
    teaching: Teaching | None,
    statistics: Sequence[tuple[Tensor, Tensor]],
) -> str:
    """Digest of everything that the numbers depend on: data by their statistics, teachers by their logits' sums."""
    content = hashlib.sha256(labels.cpu().numpy().tobytes())
    for run, (mean, std) in zip(runs, statistics):
        content.update(mean.cpu().numpy().tobytes() + std.cpu().numpy().tobytes())
        if teaching is not None and run.mix.needs_teacher:
            content.update(teaching.digest(run.teacher, run.task.rows))
    about = [
        config.identifying(settings),
        [run.identity() for run in runs],
        classes,
        list(samples.shape),
        str(samples.dtype),
    ]
    return config.digest(about, content.hexdigest(), torch.__version__, str(samples.device.type))


def resumable(path: Path | None, key: str, say: Callable[[str], None]) -> dict[str, Any] | None:
    """The checkpoint at ``path`` if there is one that fits; one that does not is named and left aside."""
    if path is None or not path.exists():
        return None
    try:
        return files.read(path, key)
    except (files.Damaged, files.Stale) as problem:
        say(f"{problem}. It is not used; training starts from the beginning.")
        return None


def packed(
    samples: Tensor,
    labels: Tensor,
    runs: Sequence[Run],
    settings: TrainSettings,
    classes: int,
    teaching: Teaching | None,
    layout: str,
    statistics: Sequence[tuple[Tensor, Tensor]],
    augment: Augment | None = None,
) -> Pack:
    """The pack of ``runs`` before its first step: weights drawn, normalisation set, first epoch planned."""
    device, dtype = samples.device, torch.promote_types(samples.dtype, torch.float32)
    networks = begun(samples, runs, settings, classes, statistics)
    require_outputs([run.mix for run in runs], networks[0])
    freeze = (*modules(settings.freeze), *filter(None, [models.reuses(settings.model)]))
    require_modules(freeze, networks[0].body, settings.model)
    targets = targets_of(runs, device)
    options: dict[str, Any] = {"label_smoothing": settings.label_smoothing, "shot": samplers.shot_of(settings.sampler)}
    options |= {} if targets is None else {"targets": targets}
    if settings.class_weights == "balanced":
        weights = [weights_of(known_labels(labels, run), classes, targets) for run in runs]
        options["class_weights"] = torch.stack(weights)
    loss = losses.mixed_loss([run.mix for run in runs], device, options)
    lesson, constants, taught = lessons_of(teaching, runs, networks[0], samples, labels, settings)
    take_output_layers(networks, runs, constants)
    drawn_of = [(run.weights_seed, run.fold) for run in runs]
    adapters = losses.adapters([run.mix for run in runs], drawn_of, networks, taught)
    for run, each in zip(runs, adapters):
        go_on(each, run)
    reads = union((loss.reads, lesson.reads)) if isinstance(lesson, Peers) else loss.reads
    learner = Learner(networks, adapters, layout, reads, device, dtype, settings.precision, freeze)
    require_no_listener(lesson, learner)
    index, going = torch.tensor([[run.teacher] for run in runs], device=device), [False] * len(runs)
    first = epoch_tables(runs, labels, settings, 0, going, device, augment is not None, classes)
    draws = draws_tables(runs, loss.members, settings.batch, 0, going, device, settings.sampler)
    means = None if augment is None else torch.stack([mean for mean, _ in statistics]).to(device)
    deviation = torch.stack([std for _, std in statistics]).to(device) if settings.input_noise else None
    memory = recollection(runs, networks[0], labels, classes)
    about = (augment, draws, means, deviation, constants, places_of(runs, labels), memory, targets)
    return Pack(learner, samples, labels, lesson, index, loss, settings, first, *about)


def require_outputs(mixes: Iterable[LossMix], network: Network) -> None:
    """``InputError`` for the first term that reads an output which the students' network does not have, and for a mix that fetches no
    output layer for a network that has its teacher's."""
    mixes = list(mixes)
    require_fetched(mixes, network.name)
    terms = {term.key: term for mix in mixes for term in mix.terms}
    named = {key: library.reads(term.name, dict(term.options)) or () for key, term in terms.items()}
    if {name for names in named.values() for name in names} <= set(VECTORS):
        return
    there = shapes(network)
    for key, names in named.items():
        if missing := lacking(names, there):
            other = library.network(terms[key].name, terms[key].arguments)
            raise InputError(
                f"{key} reads {', '.join(missing)} of the student, and {network.name} has {', '.join(there)}; "
                "expected a network with these outputs" + (f", for example {other}" if other else "")
            )
