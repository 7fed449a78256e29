"""The losses, one file each: a function of the file's name. The folder is the list.

A loss is called as ``f(student, teacher, labels, **options)``. ``student`` and ``teacher`` have the outputs of their
networks by name (``pipeline.models.Outputs``): ``.embedding`` (..., B, D), ``.hidden``, ``.logits`` (..., B, C), ``.map1``
(..., B, K, H, W), …, and ``.maps``, all of these by name in their order: each the value before its stage's last ReLU, so a
loss that wants what comes after it takes ``.relu()`` (never in place). ``labels`` (..., B) int64. Leading axes are runs and
are kept: one value per run, a scalar without them. Nothing flows into the teacher, and ``teacher`` may be None for a loss that
needs none.

To add a loss, add a file. It says which outputs it reads: ``READS = ("map2",)`` of the student, ``TEACHER = ("map2",)`` of the
teacher, ``()`` for none (without them: any); ``"maps"`` stands for every stage map of the network; where they depend on an option,
they stand behind its words, the default first: ``{"own": ("cosines",), "teacher": ("hidden",)}``, or ``{"centres=own": …}``. Its keyword-only arguments
are the options that a mix can set; their types say what they take (``signature``: ``float``, ``int``, ``bool``, ``Literal``,
``Annotated[float, "[0, 1)"]``); other arguments come from the training settings. What a file says is read from its text, not
by importing it, where it is written out. All else is optional:

- ``FORMULA`` and ``SOURCE`` are printed by ``--explain``; ``WEIGHT`` counts in a mix that gives none (1 if absent); ``ROWS``:
  the fewest clips of a batch that it can learn from (1 if absent; smaller batches are refused).
- ``adapter(student, teacher)``: from the shapes of the outputs, name → (D,) or (K, H, W), an ordinary module that is trained
  with the student and never part of it. It is given the student's outputs (of one run: (B, ...)), and the loss sees what it
  says as ``student.adapted``: a tensor, or a mapping by name where it says several things. Options that it names as arguments
  are passed. Batch norm in it has its own statistics in every run. Parameters that it names in ``undecayed`` do not decay.
- ``ADAPTS = ("T=learned",)``: the options with which alone it brings one (without it: with any).
- ``planned(epoch, epochs)``: name → number of an epoch (from 0), given to the loss as these arguments, which stand before its
  options; options as above.
- An adapter whose ``forward`` takes a second argument is given what the teacher says, by name, too: a side of the teacher's to train.
- ``memory(labels, classes)``: name → array, what the loss remembers of a run's training rows before the first step, drawn by torch's
  own generator, from their labels (n,), −1 for none; the loss sees it as ``student.memory``, and which rows a batch is as
  ``student.index`` (..., B). Runs in a pack have zeros behind shorter arrays. ``remember(student, teacher, labels)``: those
  arrays that change, as they are after a step; options and ``rows`` as above. In the checkpoint, as weights are.
- ``reduced(map)``: what the loss needs of a teacher's map (..., K, H, W), for example its mean over channels; leading axes are
  any, and are kept. It is kept of every clip in place of the map, and the loss sees it as ``teacher.reduced``, stage → array.
  It may also name as arguments ``stage`` (the map's name), ``student`` and ``teacher`` (shapes of both sides by name), and
  options; a stage of which it gives None is not kept. ``needs.reduced_maps(reduced, student, teacher, **options)`` is
  ``teacher.reduced``, or the same of plain outputs with maps.
- ``constants(arrays, labels)``: name → tensor, once per teacher, from what it says of its student's training rows (never of
  held-out clips) by name, and their labels; the loss sees each run's own as ``teacher.constants[name]`` (..., K). Maps of all
  rows may take gigabytes: ``needs.parts_of(arrays)`` has them some rows after the other. ``student`` and options as above; ``head``: the teacher's
  output layer, weights (C, D) and bias (C,): a teacher that has no single linear one is refused.
- ``figures(parts)``: name → number, at the end of a run, for its record (``result.json``, ``terms``): ``parts`` are pairs of what
  the student, in evaluation mode and with ``adapted``, and its teacher say of the training rows, (B, ...), some rows after the
  other, as the loss sees them. Options as above.
- ``TEACHER = ("members",)``: ``teacher.members`` (..., B, M, C), the logits of each of an ensemble's M members; a teacher that is
  a single run is refused. ``MEMBERS = True``: the loss takes maps (and what is reduced of them) of an ensemble too, with an axis
  of members, (..., B, M, K, H, W); of a single teacher without; ``needs.by_member(teacher.reduced)``: one mapping for each member
  where their networks are unlike. Any other loss on maps refuses an ensemble.
- ``TEACHER = ("own",)``: ``teacher.own`` (..., B, C_T), its logits over its own classes, which need not be the student's.
- ``DRAWS = n``: uniform numbers in [0, 1), ``student.draws`` (..., B, n), anew in every step, of (term, seed, fold, epoch)
  alone; ``DRAWS = "batch"``: n = B.
- ``rows``, an argument before the options: the clips that count, (..., B) boolean (None: all), for a mix with ``@rows=labelled``
  or ``unlabelled``. A loss that compares clips with each other (``ROWS`` above 1) cannot be so restricted without it; its means
  are then over the tuples of which every clip counts. Without it a loss is a mean over clips, and ``@rows`` takes the mean of
  what it says of each clip alone.
- ``MIXES = True``: a mean over clips of a cost against one target each, linear in it but for what has no gradient: with mixed inputs
  (``mixup``) it is mixed from the costs against both targets. Any other loss that reads labels is refused then (``labels: Tensor |
  None`` says that it does without), and of one that reads the teacher the teacher hears the mixtures. ``rows`` then says by how much
  each clip counts.
- ``FORMS``: published combination of the term with other options → whose, for methods that are a form of it: rows of their own in
  the experiment of all terms.
- ``MIX``: the published combination as text; ``NETWORK`` (or a table by an option's words) and ``SAMPLER``: the student's network that it needs, and how its
  published combination draws its batches, for the experiment of all terms; ``NOTE``: one more line of ``--explain``.
- ``LABELS``: "several" where the loss is right for clips with several labels each, "one" where it needs one. Without it: several
  where ``labels`` may be None and neither side's outputs of classes are read (``losses.several``). Others are refused for such data,
  whose ``labels`` are numbers of sets of classes.
- ``ORDERED = True``: which clip stands where in the batch counts.
- ``CLIP_NORM``: what gradients were clipped to where it was published; a line before the training says so where they are not.
- ``CHAIN``: what the published combination needs besides one training with one teacher, in words; ``RECIPE``: the experiment that
  trains it so; ``ALONE = False``: the term cannot be trained without that at all.
- ``check(**options)``: ``InputError`` where the options of a mix, each allowed by itself, do not go together.
- ``CLASSES``: the fewest classes that it can learn from, a number, the option that says so, or a number for each of some options'
  words, ``{"standard": 3}`` (data of fewer are refused);
  ``WITH = {"epsilon": ("wrong=smooth",)}``: an option that is refused unless one of these is chosen too.

The mix understands ``hinton:4..1``, ``@T=10..1``, ``@from=5``, ``@until=30`` and ``@warm=20`` for every loss (``schedule``), and ``@views=2`` (``views``): an option that
changes comes as a tensor without axes, and a term that does not count in an epoch has the weight 0 and is computed all the same.

A teacher's maps, or what is reduced of them, are stored for every clip before the first step where that fits into memory, else
its network runs in every step on the student's very input (always where inputs are augmented); a loss sees no difference
beyond rounding.

Begin with ``angle``, then ``mix``. From text to function: ``mix.LossMix.parse`` (terms by ``text``, their options by
``signature``) → ``mixed.MixedLoss``, which fetches each term's function (``library.load``) and sums the weighted terms in every
step. ``learner``: networks with the adapters of their terms; ``needs``: what terms read of teachers. Imports: models, relations.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from pipeline import plugins
from pipeline.losses.library import load, module, names
from pipeline.losses.mix import TABLE3_MIXES, LossMix, Term, named

if TYPE_CHECKING:
    from pipeline.losses.adapting import adapters
    from pipeline.losses.mixed import MixedLoss, mixed_loss
    from pipeline.losses.probabilities import log_probabilities
    from pipeline.models import Outputs

__all__ = [
    "TABLE3_MIXES",
    "LossMix",
    "MixedLoss",
    "Outputs",
    "Term",
    "adapters",
    "load",
    "log_probabilities",
    "mixed_loss",
    "module",
    "named",
    "names",
]

#: Name → its module, imported when the name is asked for: all of them bring torch, and tables name mixes without any.
LATER = {
    "MixedLoss": "pipeline.losses.mixed",
    "Outputs": "pipeline.models.outputs",
    "adapters": "pipeline.losses.adapting",
    "log_probabilities": "pipeline.losses.probabilities",
    "mixed_loss": "pipeline.losses.mixed",
}


def __getattr__(name: str) -> Any:
    if name not in LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(LATER[name]), name)


plugins.extend("losses", __path__)
