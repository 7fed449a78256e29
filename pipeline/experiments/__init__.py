"""Experiments, one TOML file each: steps, and which of them goes before which. The folder is the list (docs/recipes.md).

To add an experiment, add a file here, or in a folder ``experiments`` where you work; a file anywhere is found by its path. Its first
lines say what it does, whose it is, and the published figures to compare with.
A ``[[step]]`` is a training that fans out over folds and seeds::

    name      what it is called
    mix       its losses, for example "ce:1,hinton:1@T=4"
    teacher   the step that teaches it, or a list of several, an ensemble; "teacher": the fold's own; "previous": with rounds, the
              round before; "peer": none goes before it, the step is two, NAME-1 and NAME-2, which learn from each other in the same steps
    teacher_epoch   which weights of it: "last", "best" (optimistic), or an epoch that it keeps
    start     the step whose last weights it begins with, its own fold's and seed's, of the same network; or "previous". An adapter
              goes on where the same term of that step had one of the same shape, else it is drawn anew; momentum begins at 0
    freeze    modules that stay bit for bit, batch norm's statistics too, for example ["conv1", "linear"]: what lies in a module
              counts, and a name without a number means all numbered ones
    keep      epochs whose weights are kept in its model.pt, for example [5, 10]
    base      the student whose misses it learns (term residual), with the same teacher and a term such as hint:1@layer=hidden
    network   "student" (the default) or "teacher", a table of the preset; or a network's name, trained as the student is
    rounds    how often it is repeated, each round behind the one before; the first behind the step above
    seeds     its own seeds, for example [0, 1, 2]: as a teacher, these runs teach together
    balance   true: of a base and one term, for example "soft:1,hint:1", the term's weight is measured before it is trained
    cross_fitted  true: what is said of a clip comes from a teacher that was not trained on its fold either, one per pair of folds
              (docs/teachers.md); the price is said before they are trained
    features  its own, in place of the preset's, for example {use = "melspectrogram", bins = 64}; what they teach students of other
              features is stored by clip and view before the first step
    classes   those that it trains and tests on, by number, by name, or a part of an order that is drawn for each seed, for example
              [0, 3, 7] or "0:5@1" (``pipeline.class_subsets``); a teacher of others is refused by terms that read its outputs
    epochs, lr, … any training setting in place of the preset's

``each.mix = ["soft", "angle"]`` makes one step per value (of any field); a step that names these by what they are called together
means the one that has the same values of the fields that both spread over, for example of ``each.classes``; ``each.term = "all"`` one per loss, in its published
combination (``MIX`` of its file; where that is a chain, the recipe that it names), or beside ``soft`` where the step has
``balance``; "forms" the other methods that are a loss with other options; "vectors" and "single" are those that several teachers can teach, and those that ask for one; a list, or ``{of = "all", without = ["hint"]}``, some of
them. ``apart = 3``: only if the term's weight is more than so many times the measured one of a step with ``balance``, or less than such a part. Beside the steps: ``include = ["NAME"]`` has the steps of other experiments under ``NAME/STEP``; ``title``; ``preset``
and ``dataset`` in place of the defaults.

Begin with ``fitnets.toml``, then ``reading`` (files → steps), ``steps`` (what is refused) and ``planning`` (steps → levels of planned
runs). ``stages``: the commands ``teacher``, ``distill`` and ``table3`` as experiments. Imports: engine and what lies below it.
"""

from pipeline import plugins

plugins.extend("experiments", __path__)
