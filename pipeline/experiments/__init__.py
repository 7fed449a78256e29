"""Experiments, one TOML file each: steps, and which of them teaches which. The folder is the list.

To add an experiment, add a file here, or in a folder ``experiments`` where you work; a file anywhere is found by its path.
A ``[[step]]`` is a training that fans out over folds and seeds::

    name      what it is called
    mix       its losses, for example "ce:1,hinton:1@T=4"
    teacher   the step that teaches it; "teacher": the fold's own teacher; "previous": with rounds, the round before
    network   "student" (the default) or "teacher", a table of the preset; or a network's name, trained as the student is
    rounds    how often it is repeated, each round taught by the one before; the first by the step above
    seeds     its own seeds, for example [0, 1, 2]: as a teacher, these runs teach together
    balance   true: of a base and one term, for example "soft:1,hint:1", the term's weight is measured before it is trained
    epochs, lr, … any training setting in place of the preset's

``each.mix = ["soft", "angle"]`` makes one step per value (of any field), ``each.term = "all"`` one per loss, in its published
combination (``MIX`` of its file), or beside ``soft`` where the step has ``balance``. Beside the steps: ``include = ["NAME"]``
has the steps of other experiments under ``NAME/STEP``; ``title``; ``preset`` and ``dataset`` in place of the defaults.

Begin with ``table3.toml``, then ``reading`` (files → steps) and ``planning`` (steps → levels of planned runs). ``stages``: the
commands ``teacher``, ``distill`` and ``table3`` as experiments. Imports: engine and what lies below it.
"""
