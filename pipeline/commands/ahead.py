"""What a goal of make is given, parsed before its first step: make hands the calls of its goals to every step as AUDIO_RKD_GOALS.

So a mistake in what the last step takes costs no hour of the steps before it. Nothing is written, and no corpus is made.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline import commands, config, working_folder
from pipeline.commands import defaults
from pipeline.config import InputError, Settings

#: Calls without the program's name, a line each.
VARIABLE = "AUDIO_RKD_GOALS"

#: Of commands whose default depends on something else: what they take without --preset.
PRESETS = {"ban": "", "search": ""}


def check_goals(running: str | None) -> None:
    """``InputError`` or ``UsageError`` for the first of make's calls that could not be given; the ``running`` command reads its own."""
    for line in os.environ.pop(VARIABLE, "").splitlines():
        try:
            words = shlex.split(line)
        except ValueError as error:
            raise InputError(f"{line.strip()}: {error}; expected every quotation mark twice") from None
        if words and words[0] != running and commands.exists(words[0]):
            check_call(words[0], words[1:])


def check_call(name: str, words: Sequence[str]) -> None:
    """The same of one call: its options, then the values that click leaves to the command."""
    command = commands.load(name)
    if {"--help", "-h"} & set(words):
        return
    usual = defaults.of_command(name, working_folder.defaults())
    with command.make_context(f"audio-rkd {name}", list(words), default_map=usual) as context:
        params = context.params
    if name == "search" and params["space"]:
        from pipeline.search import space as spaces

        wanted = spaces.read(params["space"], params["losses"], params["trials"])
        params = {**params, "preset": params["preset"] or wanted.preset}
    if "overrides" in params:
        check_training(name, params)
    else:
        check_several(name, params)


def check_training(name: str, params: Mapping[str, Any]) -> None:
    """Settings, mixes, networks and folds of a command that trains."""
    preset = params["preset"] or PRESETS.get(name, "default") or working_folder.preset()
    images = params["dataset"] == "cifar100"
    settings = config.read("cifar-paper" if images and not params["preset"] else preset, params["overrides"])
    corpus = None
    if not images:
        corpus = at_hand(params)
        settings = config.for_corpus(settings, corpus.seconds) if corpus else settings
        if corpus and params.get("folds"):
            from pipeline.engine.source import wanted_folds

            wanted_folds(corpus, params["folds"])
    if name != "search":
        check_mixes(name, params, settings, len(corpus.classes) if corpus else None)
    check_several(name, params, settings)


def at_hand(params: Mapping[str, Any]) -> Any:
    """The corpus asked for, where it lies; what is wrong with it, or missing, is told by the step that needs it."""
    from pipeline.commands.chosen import corpus_at_hand

    try:
        return corpus_at_hand(params["dataset"], params["data"])
    except InputError:
        return None


def check_several(name: str, params: Mapping[str, Any], settings: Settings | None = None) -> None:
    """``InputError`` where a command, a mix or a student's setting does not take the clips asked for, as they have several labels."""
    corpus = at_hand(params) if params.get("dataset") in ("auto", "csv") and params.get("data") else None
    if not corpus or not corpus.label_sets:
        return
    from pipeline import label_sets
    from pipeline.losses import LossMix
    from pipeline.losses.several import require_several

    with label_sets.commanded(name):
        label_sets.require(corpus.listing)
    for text in params.get("losses", ()):
        if settings:
            require_several(LossMix.parse(text), settings.student, "student", corpus.name)


def check_mixes(name: str, params: Mapping[str, Any], settings: Settings, classes: int | None) -> None:
    """``InputError`` for networks and mixes that are none, and for mixes that these networks cannot be trained with."""
    from pipeline import models
    from pipeline.losses import LossMix

    network = getattr(settings, params.get("model") or "student")
    for model in (settings.teacher.model, network.model):
        models.require(model)
    read = LossMix.parse
    if name == "ban":
        from pipeline.experiments.generations import chain_mix as read
    mixes = [read(text) for text in params.get("losses", ())]
    for mix in mixes:
        mix.require(network, params.get("model") or "student")
        if classes:
            mix.require_classes(classes)
    if any(mix.reads is None or set(mix.reads) - {"embedding", "hidden", "logits"} for mix in mixes):
        from pipeline.training.fit import require_outputs  # torch: most mixes do without

        body = models.network(network.model, settings.features.shape, classes or 10, dropout=network.dropout)
        require_outputs(mixes, body)
