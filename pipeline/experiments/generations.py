"""Born-again generations: every student teaches the next one of its fold and seed (Furlanello et al. 2018).

Generation 0 is trained on the labels alone, or is any run (or ensemble of runs) that was trained before. Generation g
has the network of generation 0 and learns from the labels, from what generation g − 1 says, and, as a mix asks for it,
from the relations in g − 1's embedding (Cho et al. 2023, eq. 2.3 and section 4.3.1)::

    L = CE(labels, student) + CE(softmax(previous), softmax(student)) + Σ weight · relational term

The chains of all mixes, folds and seeds go forward together: one generation of all of them is packed like any runs.
A stopped call goes on in the generation where it was, for what is finished is left alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline import losses
from pipeline.config import InputError, Settings
from pipeline.engine.missing import train as train_levels
from pipeline.engine.source import Source, of_archive, of_corpus
from pipeline.experiments.planning import plan
from pipeline.experiments.reading import variant
from pipeline.losses import LossMix

__all__ = ["Source", "chain_mix", "chain_settings", "of_archive", "of_corpus", "train"]

#: The terms that every student of a chain has: labels and teacher's outputs.
BASE = ("ce", "soft")

#: The same of clips with several labels, of which no softmax shares one probability out.
OF_SEVERAL = ("ce",)

#: For a chain without relational terms, the baseline.
NONE = "none"


def chain_mix(text: str, several: bool = False) -> LossMix:
    """``angle,area`` → labels, teacher's outputs, and these; weights that are not given are each loss's default.

    ``none`` is the chain without relational terms. Default weights are 20 for relational terms, 1 for the others,
    as in the paper's second experiment. ``several``: of clips with several labels, whose students learn from labels and relations alone;
    ``InputError`` for ``none``, which would leave them nothing of their teacher.
    """
    if several and text.strip() == NONE:
        raise InputError(
            f"--losses {NONE}: on clips with several labels nothing would be learned from the generation before (soft needs one label a clip); "
            "expected terms on relations, for example --losses angle"
        )
    base = OF_SEVERAL if several else BASE
    text = base[0] if text.strip() == NONE else text
    return LossMix.parse(",".join([text, *(name for name in base if name not in losses.named(text))]))


def chain_settings(settings: Settings, model: str) -> Settings:
    """``settings`` in which teacher and student are one network: that of the table ``model``."""
    network = getattr(settings, model)
    return dataclasses.replace(settings, teacher=network, student=network)


def train(
    source: Source,
    settings: Settings,
    mixes: Sequence[LossMix],
    *,
    generations: int,
    folds: Sequence[int],
    seeds: Sequence[int],
    teachers: Sequence[Path] = (),
    trust: bool = False,
    **how: Any,
) -> Path:
    """Train the chains as far as they are not yet; the result is the folder that they lie in.

    ``settings`` as ``chain_settings`` makes them. ``teachers``: folders with runs ``fold{k}-seed{s}``, or teacher files, that are
    generation 0, several as an ensemble; without any, generation 0 is trained on the labels. ``trust``: as ``plan`` takes it.
    """
    texts = list(dict.fromkeys(map(str, mixes)))
    experiment = variant("born-again", "generation", mix=None, each={"mix": texts}, rounds=generations)
    levels, _ = plan(experiment, settings, source.name, folds=folds, seeds=seeds, firsts=teachers, trust=trust)
    train_levels(levels, source, **how)
    return levels[-1].runs[0].home
