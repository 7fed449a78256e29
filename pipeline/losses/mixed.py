"""The mixes of many runs as one function: R runs in one batch, each with its own terms and weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pipeline.config import InputError
from pipeline.losses.library import constant, load
from pipeline.losses.mix import LossMix, Term, union
from pipeline.losses.mixable import listens, mixes_targets
from pipeline.losses.mixing import Mixing, mixed_term
from pipeline.losses.needs import CONSTANTS, OWN, REDUCED, about, accepted, has, output_of
from pipeline.losses.rows import counted_clips, restricted
from pipeline.losses.schedule import Ramp, value_at, weight_at
from pipeline.losses.signature import masked
from pipeline.losses.views import of_both
from pipeline.models.outputs import MAPS

#: What stands before a term's key in the names of outputs that only this term sees.
ADAPTED = "adapted"

#: Optional function of a loss file: what it remembers after a step.
REMEMBER = "remember"


class Memory(NamedTuple):
    """What terms remember of the training rows of R runs, and which of these a batch is."""

    arrays: Mapping[str, Tensor]
    """``KEY NAME`` → (R, ...)."""
    places: Tensor
    """(R, B) int64: of each clip its place among the run's training rows, in their order."""


class Seen:
    """What a term sees of a network's outputs: those of the runs that have it, and as ``adapted`` its own adapter's.

    Each output is selected when it is asked for. ``runs`` None: all have the term. ``private_names``: what only this term sees, by
    name → its name among the outputs; where several go on from that name, a mapping of them.
    """

    def __init__(
        self,
        outputs: Any,
        runs: Tensor | None,
        private_names: Mapping[str, str],
        draws: Tensor | None = None,
        memory: Memory | None = None,
        key: str = "",
    ) -> None:
        self._outputs, self._runs, self._private = outputs, runs, private_names
        if draws is not None:
            self.draws = draws  # of these runs alone already
        kept = None if memory is None else private(memory.arrays, key)
        if memory is not None and kept is not None:
            self.memory = chosen_runs(kept, runs)
            self.index = chosen_runs(memory.places, runs)

    def __getattr__(self, name: str) -> Any:
        value = private(self._outputs, self._private[name]) if name in self._private else None
        value = getattr(self._outputs, name) if value is None else value
        if name == MAPS and not value:
            raise AttributeError(f"no stage maps; there are {', '.join(self._outputs)}")
        return chosen_runs(value, self._runs)


def chosen_runs(value: Any, runs: Tensor | None) -> Any:
    """Those of some runs, of a tensor (R, ...) or each of a mapping; None: all."""
    if runs is None:
        return value
    if isinstance(value, Mapping):
        return {key: each.index_select(0, runs) for key, each in value.items()}
    return value.index_select(0, runs)


def private(outputs: Mapping[str, Tensor], head: str) -> Tensor | dict[str, Tensor] | None:
    """The output of the name ``head``, or all of the names ``head NAME`` by NAME; None where there is neither."""
    if head in outputs:
        return outputs[head]
    start = f"{head} "
    several = {name.removeprefix(start): value for name, value in outputs.items() if name.startswith(start)}
    return several or None


class MixedLoss:
    """``(student, teacher, labels) → (total (R,), {key: raw (R,)})``; made by ``mixed_loss``.

    A term is computed only for the runs that have it, so that what goes wrong in one run (a NaN) stays
    there. Nothing depends on values and all indices are made beforehand: fit for CUDA graphs.
    """

    def __init__(self, mixes: Sequence[LossMix], device: torch.device | str, ce_options: Mapping[str, Any]) -> None:
        self.mixes = tuple(mixes)
        terms = {term.key: term for mix in self.mixes for term in mix.terms}
        #: The outputs of students and of teachers that a term reads; None: it may be any.
        self.reads = union(mix.reads for mix in self.mixes)
        self.teacher_reads = union(mix.teacher_reads for mix in self.mixes)
        #: The terms of all runs, sorted.
        self.keys = tuple(sorted(terms))
        #: term key → the runs that have it.
        self.members = {
            key: tuple(r for r, mix in enumerate(self.mixes) if key in {term.key for term in mix.terms})
            for key in self.keys
        }
        # The weights of an epoch (terms, R), and what else changes, are filled in place: captured graphs read them.
        self._table = torch.zeros(len(self.keys), len(self.mixes), device=device)
        self._ramps = [
            (value, torch.zeros((), dtype=torch.float64, device=device), key, name)
            for key, term in terms.items()
            for name, value in term.arguments.items()
            if isinstance(value, Ramp)
        ]
        self._plans = [(plan, numbers, key) for key, term in terms.items() for plan, numbers in plan_of(term, device)]
        #: term key → (R,) float32 weights of the epoch; 0 where the run lacks the term.
        self.weights = dict(zip(self.keys, self._table))
        self.set_epoch(0, 1)
        # None where all runs have the term: no selection is needed then.
        self._runs: dict[str, Tensor | None] = {
            key: None if len(members) == len(self.mixes) else torch.tensor(members, device=device)
            for key, members in self.members.items()
        }
        self._functions = {key: self._function(term, ce_options) for key, term in terms.items()}
        self._terms = terms
        #: Keys of the terms that remember.
        self.remembering = tuple(key for key, term in terms.items() if has(term, REMEMBER))
        #: Whether a step has two views of each clip.
        self.two_views = any(map(of_both, terms.values()))
        self._mixes = {key: mixes_targets(term) for key, term in terms.items()}
        self._listens = {key: listens(term) for key, term in terms.items()}
        self._taught = {
            key: {
                OWN: output_of(OWN),
                **{word: f"{word} {about(term, word).key}" for word in (REDUCED, CONSTANTS) if has(term, word)},
            }
            for key, term in terms.items()
        }

    def _function(self, term: Term, ce_options: Mapping[str, Any]) -> Callable[..., Tensor]:
        """Of what a term sees, its labels, and how inputs are mixed where they are and it mixes its targets."""
        options: dict[str, Any] = term.arguments | self._changing(term.key)
        for _, numbers, key in self._plans:
            options |= numbers if key == term.key else {}
        if term.name == "proto":
            options |= {key: value for key, value in ce_options.items() if key == "shot"}
        if term.name == "ce":
            runs = self._runs[term.key]
            for key, value in ce_options.items():
                if key == "shot":
                    continue
                by_run = key == "class_weights" and isinstance(value, Tensor) and value.ndim > 1 and runs is not None
                options[key] = value.index_select(0, runs) if by_run else value
        function = partial(load(term.name), **options)
        rows, takes_rows = str(dict(term.options).get("rows", "all")), masked(term.name)

        def of_batch(student: Any, teacher: Any, labels: Tensor, mixing: Mixing | None = None) -> Tensor:
            if mixing is not None:
                heard = teacher if listens(term) else None
                return mixed_term(function, rows, takes_rows, student, heard, labels, mixing)
            if rows == "all":
                return function(student, teacher, labels)
            return restricted(function, rows, takes_rows, student, teacher, labels)

        return of_batch

    def set_epoch(self, epoch: int, epochs: int) -> None:
        """Take the weights and options of an epoch (from 0) of ``epochs``."""
        each = [
            {term.key: weight_at(term.weight, dict(term.options), epoch, epochs) for term in mix.terms}
            for mix in self.mixes
        ]
        self._table.copy_(torch.tensor([[weights.get(key, 0.0) for weights in each] for key in self.keys]))
        for ramp, number, _, _ in self._ramps:
            number.fill_(value_at(ramp, epoch, epochs))
        for plan, numbers, _ in self._plans:
            for name, value in plan(epoch, epochs).items():
                numbers[name].fill_(value)

    def sides(
        self,
        key: str,
        student: Any,
        teacher: Any,
        runs: Tensor | None = None,
        draws: Tensor | None = None,
        memory: Memory | None = None,
    ) -> tuple[Seen, Seen | None]:
        """What a term sees of the outputs of both sides; ``runs``: those of the runs axis that have it (None: all, or no axis)."""
        taught = None if teacher is None else Seen(teacher, runs, self._taught[key])
        return Seen(student, runs, {ADAPTED: f"{ADAPTED} {key}"}, draws, memory, key), taught

    def __call__(
        self,
        student: Any,
        teacher: Any,
        labels: Tensor,
        draws: Mapping[str, Tensor] | None = None,
        mixing: Mixing | None = None,
        memory: Memory | None = None,
        second: tuple[Any, Any] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Outputs and labels lead with the runs axis. total = Σ weight · raw; raw is 0 where a run lacks it.

        ``draws``: of each term that draws its numbers (R', B, n), R' the runs that have it. ``mixing``: of mixed inputs; what teachers
        say is then of each clip by itself, or of the mixtures with ``mixing.live``. ``memory``: of the terms that remember. ``second``: what
        students and teachers say of another view of the same clips, for the terms with ``@views=2``.
        """
        raw: dict[str, Tensor] = {}
        total: Tensor | None = None
        for key in self.keys:
            runs, function = self._runs[key], self._functions[key]
            seen, taught = self.sides(key, student, teacher, runs, (draws or {}).get(key), memory)
            mixed = None if mixing is None or not self.mixes_now(key, mixing) else mixing.of(runs)
            known = chosen_runs(labels, runs)
            some = one_per_run(function(seen, taught, known, mixed), key, len(known))
            if second is not None and of_both(self._terms[key]):
                sides = self.sides(key, *second, runs, (draws or {}).get(key), memory)
                some = some + one_per_run(function(*sides, known, mixed), key, len(known))
            if runs is None:
                raw[key] = some
            else:
                raw[key] = some.new_zeros(len(self.mixes)).index_copy(0, runs, some)
            weighted = self.weights[key] * raw[key]
            total = weighted if total is None else total + weighted
        assert total is not None
        return total, raw

    @torch.no_grad()
    def remembered(
        self, student: Any, teacher: Any, labels: Tensor, draws: Mapping[str, Tensor], memory: Memory
    ) -> dict[str, Tensor]:
        """``KEY NAME`` → (R, ...): what the arrays of ``memory`` that terms change are after a step; nothing is written."""
        changed = {}
        for key in self.remembering:
            runs, term = self._runs[key], self._terms[key]
            seen, taught = self.sides(key, student, teacher, runs, draws.get(key), memory)
            function: Any = constant(term.name, REMEMBER, None)
            some, rows = chosen_runs(labels, runs), str(dict(term.options).get("rows", "all"))
            counted = {} if rows == "all" else {"rows": counted_clips(rows, some)}
            options = accepted(function, term.arguments | self._changing(key) | counted)
            for name, value in function(seen, taught, some, **options).items():
                whole = memory.arrays[f"{key} {name}"]
                changed[f"{key} {name}"] = value if runs is None else whole.index_copy(0, runs, value)
        return changed

    def _changing(self, key: str) -> dict[str, Tensor]:
        """The options of a term that change from epoch to epoch, as they are now."""
        return {name: number for _, number, of, name in self._ramps if of == key}

    def mixes_now(self, key: str, mixing: Mixing) -> bool:
        """Whether a term mixes its targets: a teacher that hears the mixtures gives one target for each."""
        return self._mixes[key] and not (mixing.live and self._listens[key])


def plan_of(term: Term, device: torch.device | str) -> list[tuple[Callable[..., dict[str, float]], dict[str, Tensor]]]:
    """``planned`` of a term's file with its options, and a place for each number that it gives; [] where it plans nothing."""
    function = constant(term.name, "planned", None)
    if function is None:
        return []
    plan = partial(function, **accepted(function, term.arguments))
    numbers = {name: torch.zeros((), dtype=torch.float64, device=device) for name in plan(0, 1)}
    return [(plan, numbers)] if numbers else []


def one_per_run(value: Any, key: str, runs: int) -> Tensor:
    """What a loss gave, if it is one value per run; else ``InputError``: a file of a user's own may give anything."""
    if isinstance(value, Tensor) and tuple(value.shape) == (runs,):
        return value
    given = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"{type(value).__name__}"
    raise InputError(
        f"loss {key} gave {given} for {runs} runs; expected one value per run, a tensor of shape ({runs},): leading axes of "
        "what it reads are kept"
    )


def mixed_loss(
    mixes: Sequence[LossMix],
    device: torch.device | str = "cpu",
    ce_options: Mapping[str, Any] | None = None,
) -> MixedLoss:
    """The loss of ``len(mixes)`` runs that are trained together; indices and weights lie on ``device``.

    ``ce_options`` go to the term ``ce`` (``label_smoothing``, ``class_weights`` (R, C) or (C,), ``targets`` (labels, C)), and ``shot``
    to ``proto``.
    """
    if not mixes:
        raise InputError("no mixes; expected one for each run")
    return MixedLoss(mixes, device, ce_options or {})
