"""A mix in words, for people: what ``distill --explain`` prints."""

from __future__ import annotations

from pipeline import losses
from pipeline.losses.mix import NO_BASE, LossMix, Term, constant, fewest, options, published, shown


def explained(mix: LossMix) -> str:
    """What ``--explain`` prints: of each term weight and its origin, formula, layers, options, source."""
    paper = published(mix)
    lines = [f"{mix}  (path name {mix.slug})"]
    if paper is not None:
        lines.append(f"A row of Table 3 of Cho et al. 2023: {paper:.2f} % published.")
    for term in mix.terms:
        if term == Term("soft", 1.0):
            origin = "the base term"
        elif paper is not None:
            origin = "of Table 3" if constant(term.name, "WEIGHT", 1.0) != 1 else "the default"
        else:
            origin = "the default" if term.weight == constant(term.name, "WEIGHT", 1.0) else "given"
        layer = constant(term.name, "LAYER", "outputs")
        settings = {**{k: d for k, (d, _) in options(term.name).items()}, **dict(term.options)}
        student_layer = settings.pop("layer", layer)
        lines += [
            f"{term.key}: weight {shown(term.weight)} ({origin})",
            f"    formula  {constant(term.name, 'FORMULA', first_line(term.name))}",
            f"    layer    student's {student_layer}"
            + (f", teacher's {layer}" if constant(term.name, "TEACHER", True) else ", no teacher"),
        ]
        if (rows := fewest(term.name)) > 1:
            lines.append(f"    batch    of at least {rows} clips")
        if settings:
            lines.append("    options  " + ", ".join(f"{k} = {shown(v)}" for k, v in settings.items()))
        lines.append(f"    source   {constant(term.name, 'SOURCE', 'a file of this project')}")
    if not mix.has_base:
        lines.append(f"{NO_BASE.name}: weight 0 (no base term is added, and none is computed)")
    if not mix.names_classes:
        lines.append(
            "No term on the outputs: the student names classes by chance; make retrieval measures its space."
        )
    return "\n".join(lines)


def first_line(name: str) -> str:
    return (losses.module(name).__doc__ or "no formula given").strip().splitlines()[0]
