"""Whether the clips that runs train on make up a batch at all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline import cache, samplers
from pipeline.config import InputError
from pipeline.corpus.clips import UNLABELLED
from pipeline.engine import subsets
from pipeline.engine.source import Source
from pipeline.images.archive import Archive
from pipeline.plurals import many
from pipeline.runs.planned import PlannedRun


def check(planned: Sequence[PlannedRun], source: Source) -> list[str]:
    """``InputError`` where a batch takes more than all samples that a run trains on, and where too few recordings make episodes; else
    a line on each class that is in no episode."""
    if isinstance(source.files, Archive):
        return []  # of images there are tens of thousands, and they would have to be read to be counted
    clips, labels = source.clips, np.concatenate([cache.read_header(path).labels for path in source.files])
    for run in planned:
        network, left_out = run.network, (run.fold, run.fold if run.without is None else run.without)
        labelled = samplers.labelled_of(network.sampler, network.batch)
        hidden = (UNLABELLED,) if labelled else ()
        own = subsets.chosen(run, source.classes)
        learned = True if own is None else np.isin(labels, (*own, UNLABELLED))
        count = int((~np.isin(clips.folds, (*left_out, *hidden)) & learned).sum())
        samples = count if network.views == "random" else clips.views * count
        if samples < (needed := labelled or network.batch):
            fewer = network.batch // needed * (1 << max(0, samples.bit_length() - 1))
            setting = f"{'teacher' if run.is_teacher else 'student'}.batch"
            raise InputError(
                f"{setting} = {network.batch}: fold {run.fold} trains on {many(samples, 'sample')} of {many(count, 'clip')}, no whole "
                f"batch; expected a smaller one, for example --set {setting}={max(1, fewer)}"
                + (f", or --set step.STEP.batch={max(1, fewer)} where a step has its own" if run.is_step else "")
            )
    return require_recordings([run for run in planned if samplers.episode_of(run.network.sampler)], source)


def require_recordings(planned: Sequence[PlannedRun], source: Source) -> list[str]:
    """``InputError`` where fewer classes than an episode has have recordings for both of its sides, in the folds that a run trains on;
    a line where some classes have not."""
    if not planned:
        return []
    # torch comes here and not at the top, so that a finished stage answers at once.
    from pipeline.engine import tasks
    from pipeline.training import episodes

    data = cache.described(source.files)  # type: ignore[arg-type]
    labels = data.labels.repeat(data.features.shape[1])
    looked_at: set[tuple[int, str]] = set()
    lines: dict[str, None] = {}
    for run, task in zip(planned, tasks.tasks(planned, data)):
        episode = samplers.episode(run.network.sampler)
        if (key := (id(task), run.network.sampler)) in looked_at:
            continue
        looked_at.add(key)
        try:
            of_clips, recordings = episodes.enough(run.fold, task, labels, episode)
        except InputError as error:
            how = "; of a step: --set step.STEP.sampler=… and --set step.STEP.batch=…, which is way · (shot + query)"
            raise InputError(f"{error}{how if run.is_step else ''}") from None
        fitting = episodes.fitting_classes(of_clips, recordings, episode)
        if out := [name for place, name in enumerate(subsets.names(run, source.classes)) if place not in fitting]:
            lines[
                f"fold {run.fold}: in no episode it trains on, for too few recordings for {episode.shot} + {episode.query} clips: "
                f"{', '.join(out)}"
            ] = None
    return list(lines)
