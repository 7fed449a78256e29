"""Stage two: a teacher per held-out fold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline import config
from pipeline.commands.chosen import logged, opened_corpus
from pipeline.commands.options import training_options

SECTION = "The stages"
ORDER = 24
EXAMPLES = (
    "teacher",
    "teacher --folds 1,2 --device cuda",
    "teacher --set teacher.epochs=20 --log tensorboard",
)


@click.command()
@training_options
def teacher(
    dataset: str, data: Path | None, preset: str, overrides: tuple[str, ...], log: str | None, **how: Any
) -> None:
    """Stage two: a teacher per held-out fold, trained on the labels of the other folds."""
    from pipeline.experiments import stages  # torch: --help does without

    corpus = opened_corpus(dataset, data)
    settings = config.for_corpus(config.read(preset, overrides), corpus.seconds)
    with logged(log, corpus.name):
        stages.train_teachers(corpus, settings, **how)
