"""A mix in words, for people: what ``distill --explain`` prints."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline import models
from pipeline.errors import InputError
from pipeline.losses.adapting import adapter as adapter_of
from pipeline.losses.adapting import listens, shapes
from pipeline.losses.library import (
    constant,
    fewest,
    reads,
    summary,
    teacher_reads,
)
from pipeline.losses.mix import (
    NO_BASE,
    TABLE3_MIXES,
    LossMix,
    Term,
)
from pipeline.losses.schedule import Ramp, counted_epochs
from pipeline.losses.signature import Value, adapts, idle, options, shown
from pipeline.losses.views import of_both


@dataclass(frozen=True)
class Pair:
    """The networks for which the weights of an adapter are counted; without anything else the paper's."""

    student: str = "cnn2"
    teacher: str = "resnet18"
    shape: tuple[int, int, int] = (5, 20, 173)
    """(feature, bin, frame)."""
    classes: int = 10
    several: bool = False
    """Whether clips have several labels each."""

    def __str__(self) -> str:
        return f"{self.student} from {self.teacher}, at {self.shape}"


def explained(mix: LossMix, published: float | None = None, pair: Pair | None = None) -> str:
    """What ``--explain`` prints: of each term weight and its origin, formula, layers, options, source."""
    pair = pair or Pair()
    in_table3 = str(mix) in TABLE3_MIXES
    lines = [f"{mix}  (path name {mix.slug})"]
    if published is not None:
        lines.append(f"A row of Table 3 of Cho et al. 2023: {published:.2f} % published.")
    for term in mix.terms:
        if term == Term("soft", 1.0):
            origin = "the base term"
        elif in_table3:
            origin = "of Table 3" if constant(term.name, "WEIGHT", 1.0) != 1 else "the default"
        else:
            origin = "the default" if term.weight == constant(term.name, "WEIGHT", 1.0) else "given"
        settings = {**{key: option.default for key, option in options(term.name).items()}, **term.arguments}
        student, teacher = reads(term.name, settings), teacher_reads(term.name, settings)
        for key in ("layer", *idle(term.name, settings)):
            settings.pop(key, None)
        lines += [
            f"{term.key}: weight {in_words(term.weight)} ({origin})",
            f"    formula  {formula(term.name, pair.several)}",
            f"    reads    student's {listed(student)}; "
            + (f"teacher's {listed(teacher)}" if teacher != () else "no teacher"),
        ]
        if adapts(term.name, term.arguments):
            lines.append(f"    adapter  {adapter_in_words(term, pair)}")
        lines += what_counts(term)
        if settings:
            lines.append("    options  " + ", ".join(f"{k} = {in_words(v)}" for k, v in settings.items()))
        lines.append(f"    source   {constant(term.name, 'SOURCE', 'a file of this project')}")
        if usual := constant(term.name, "MIX", None):
            needed = f", with {chain}" if (chain := constant(term.name, "CHAIN", None)) else ""
            found = f" (experiment {recipe})" if (recipe := constant(term.name, "RECIPE", None)) else ""
            lines.append(f"    mix      {usual} is the published combination{needed}{found}")
        if note := constant(term.name, "NOTE", None):
            lines.append(f"    note     {note}")
    if not mix.has_base:
        lines.append(f"{NO_BASE.name}: weight 0 (no base term is added, and none is computed)")
    lines.append(
        f"Outputs that are read: of the student {listed(mix.reads)}; "
        + (f"of the teacher {listed(mix.teacher_reads)}" if mix.needs_teacher else "no teacher's")
    )
    if not mix.names_classes:
        lines.append("No term on the outputs: the student names classes by chance; make retrieval measures its space.")
    return "\n".join(lines)


def formula(name: str, several: bool) -> str:
    """As the loss's file has it, of clips with several labels where it has that."""
    usual = str(constant(name, "FORMULA", summary(name)))
    return str(constant(name, "FORMULA_OF_SEVERAL", usual)) if several else usual


def what_counts(term: Term) -> list[str]:
    """A line for each choice of epochs, clips and views, and for the fewest clips of a batch."""
    lines = []
    if epochs := counted_epochs(dict(term.options)):
        lines.append(f"    epochs   {epochs}")
    if (which := dict(term.options).get("rows", "all")) != "all":
        lines.append(f"    rows     {which} clips of a batch only")
    if of_both(term):
        lines.append("    views    two of each clip, as it is and as the setting augment changes it: the sum of both")
    if (rows := fewest(term.name)) > 1:
        lines.append(f"    batch    of at least {rows} clips")
    return lines


def listed(outputs: tuple[str, ...] | None) -> str:
    return "outputs (it does not say which)" if outputs is None else ", ".join(outputs) or "outputs: none"


def in_words(value: Value) -> str:
    """A weight or an option, with what a ramp is."""
    if not isinstance(value, Ramp):
        return shown(value)
    return f"{shown(value)}, linearly from {shown(value.first)} in the first epoch to {shown(value.last)} in the last"


def adapter_in_words(term: Term, pair: Pair) -> str:
    """What a term's adapter adds to the training of a pair of networks, in weights and multiplications."""
    from pipeline.models.counting import multiplications  # only mixes with an adapter need torch here

    student, teacher = (models.network(name, pair.shape, pair.classes) for name in (pair.student, pair.teacher))
    try:
        adapter = adapter_of(term, pair.student, shapes(student), shapes(teacher))
    except InputError as error:
        return f"cannot be trained with this pair ({pair}): {error}"
    if adapter is None:
        return f"none with these options ({pair})"
    clip = student.mean.new_zeros(1, *pair.shape)
    heard = (teacher.eval()(clip),) if listens(adapter) else ()
    added = multiplications(adapter.eval(), student.eval()(clip), *heard)
    share = added / multiplications(student, clip)
    return (
        f"{models.parameters(adapter):,} weights that are trained with the student and are no part of it, and "
        f"{added:,} multiplications per clip, {share:.1%} of the student's own ({pair})"
    )
