"""The mix: which losses, with which weights and options, as text, as a value and as the name of a path.

Text: terms separated by commas, each ``NAME[:WEIGHT][@OPTION=VALUE]...``, for example ``angle:40,area:20``,
``hinton@T=4``, ``angle:40@layer=hidden``. Order does not matter. ``soft:1`` is added unless ``soft`` or
``ce`` is named. Without weights, the paper's weights for that very mix (Table 3 of Cho et al. 2023)
where it has it, else each loss's own default (20 for the relational ones, 1 for the others). With the weight 0
a base term keeps away: ``angle:40,soft:0`` learns relations alone.

Path name (``slug``): the same without ``: = ,``, for example ``angle40+area20+soft1``, ``hinton1@T_4+soft1``.
``LossMix.parse`` reads both.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.config import InputError
from pipeline.losses.library import constant, fewest, has, names, reads, require, suggestion, teacher_reads
from pipeline.losses.signature import Option, Value, idle, number_of, options, read, shown

#: The first of these that a mix names is its base term; ``soft:1`` is added where it names none.
BASES = ("soft", "ce")


#: The mixes of Table 3 of Cho et al. 2023 in its order, as canonical text: a mix of these terms that gives no weights has
#: theirs. (What came out of them stands in ``report.paper``.)
TABLE3_MIXES = (
    "soft:1",
    "angle:50,soft:1",
    "angle:10,distance:40,soft:1",
    "area:20,distance:20,soft:1",
    "angle:40,area:20,soft:1",
    "angle:20,area:40,distance:40,soft:1",
    "hinton:1,soft:1",
    "angle:10,area:50,hinton:1,soft:1",
)


@dataclass(frozen=True, order=True)
class Term:
    """One loss of a mix. ``options``: only those that differ from the loss's defaults, sorted."""

    name: str
    weight: float
    options: tuple[tuple[str, Value], ...] = ()

    @property
    def key(self) -> str:
        """The term without its weight, for example ``hinton@T=4``: the same key is the same loss."""
        return self.name + "".join(f"@{key}={shown(value)}" for key, value in self.options)

    def __str__(self) -> str:
        return f"{self.name}:{shown(self.weight)}{self.key.removeprefix(self.name)}"

    @property
    def slug(self) -> str:
        between = "-" if self.name[-1].isdigit() else ""
        options = "".join(f"@{key}_{shown(value)}" for key, value in self.options)
        return f"{self.name}{between}{shown(self.weight)}{options}"


@dataclass(frozen=True)
class LossMix:
    """Terms, sorted. Equal mixes are equal values, have one text (``str``) and one path name (``slug``)."""

    terms: tuple[Term, ...]
    """What is learned; a base term of weight 0 is in the text only, and costs nothing."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "terms", tuple(sorted(self.terms)))

    @staticmethod
    def parse(text: str) -> LossMix:
        """The mix of a text or a path name. Raises ``InputError`` (one line) for whatever it cannot read."""
        parts = _parts(text)
        if not any(parts):
            raise InputError("no losses named; expected for example angle,area or hinton:1@T=1.5 or soft")
        if "" in parts:
            raise InputError(f"{text!r}: nothing between two separators; expected for example angle:40,area:20")
        terms = [_read_term(part) for part in parts]
        keys = [(name, given) for name, _, given in terms]
        for name, given in keys:
            if keys.count((name, given)) > 1:
                raise InputError(f"{text!r}: {Term(name, 1, given).key!r} is named twice; name each term once")
        if not {name for name, _, _ in terms} & set(BASES):
            terms.append(("soft", 1.0, ()))
        kept = [term for term in terms if term[1] != 0]
        if not kept:
            raise InputError(
                f"{text!r}: every weight is 0, so there is nothing to learn; expected for example angle:40,soft:0"
            )
        return LossMix(tuple(_weighted(kept)))

    def __str__(self) -> str:
        return ",".join(map(str, self._written))

    @property
    def slug(self) -> str:
        """A name for paths, without ``: = ,`` and spaces, that ``parse`` reads back."""
        return "+".join(term.slug for term in self._written)

    @property
    def _written(self) -> list[Term]:
        """The terms as text: without a base term, ``soft:0`` keeps ``parse`` from adding one."""
        return sorted([*self.terms, *([] if self.has_base else [NO_BASE])])

    @property
    def has_base(self) -> bool:
        return any(term.name in BASES for term in self.terms)

    @property
    def names_classes(self) -> bool:
        """Whether a term reads the outputs. Where none does, classes are named by chance, however good the embedding."""
        return self.reads is None or "logits" in self.reads

    @property
    def needs_teacher(self) -> bool:
        return self.teacher_reads != ()

    @property
    def reads(self) -> tuple[str, ...] | None:
        """The student's outputs that a term reads; None: a term does not say which."""
        return union(reads(term.name, dict(term.options)) for term in self.terms)

    @property
    def teacher_reads(self) -> tuple[str, ...] | None:
        """The same of the teacher's outputs."""
        return union(teacher_reads(term.name, dict(term.options)) for term in self.terms)

    @property
    def adapted(self) -> tuple[str, ...]:
        """Keys of the terms that bring an adapter."""
        return tuple(term.key for term in self.terms if has(term.name, "adapter"))

    @property
    def rows(self) -> int:
        """The fewest clips of a batch that every term can learn from."""
        return max(fewest(term.name) for term in self.terms)

    def require_batch(self, batch: int, setting: str = "batch") -> None:
        """``InputError`` where a term learns nothing from ``batch`` clips, or from one teacher without a training before.

        ``setting`` states the clips, for example student.batch.
        """
        for term in self.terms:
            if not constant(term.name, "ALONE", True):
                raise InputError(
                    f"{term.name} of mix {self} cannot be trained by itself with one teacher; "
                    f"expected {constant(term.name, 'CHAIN', 'another training before it')}: choose other terms"
                )
            if batch < (rows := fewest(term.name)):
                remedy = f", for example --set {setting}={max(rows, 8)}" if "." in setting else ""
                raise InputError(
                    f"{setting} = {batch}: {term.name} of mix {self} needs at least {rows} clips in a batch; "
                    f"expected {rows} or more{remedy}"
                )

    def require_classes(self, classes: int) -> None:
        """``InputError`` where a term needs more classes than the data have: ``CLASSES`` of its file, a number or an option."""
        for term in self.terms:
            needed = constant(term.name, "CLASSES", 1)
            option = needed if isinstance(needed, str) else ""
            if option:
                needed = dict(term.options).get(option, options(term.name)[option].default)
            if classes < needed:
                what = f"{option} = {needed}" if option else f"at least {needed} classes"
                raise InputError(
                    f"{term.name} of mix {self} needs {what}, and there are {classes} classes; expected "
                    + (f"{option} up to {classes}, for example {term.name}@{option}={classes}" if option else "more")
                )

    def explain(self, published: float | None = None) -> str:
        """What ``--explain`` prints: of each term weight and its origin, formula, layers, options, source.

        ``published``: the accuracy in percent that a paper states for this mix.
        """
        from pipeline.losses.explanation import explained

        return explained(self, published)


#: What a mix without a base term says in its place.
NO_BASE = Term("soft", 0.0)


def union(each: Iterable[tuple[str, ...] | None]) -> tuple[str, ...] | None:
    """All names once, sorted; None where one of them is None."""
    parts = list(each)
    return None if None in parts else tuple(sorted({name for part in parts if part for name in part}))


def named(text: str) -> set[str]:
    """The losses that a text names, those with the weight 0 too. Raises ``InputError`` as ``LossMix.parse`` does."""
    LossMix.parse(text)
    return {_read_term(part)[0] for part in _parts(text)}


def _parts(text: str) -> list[str]:
    return [part.strip() for part in re.split(r",|(?<![0-9.][eE])\+", text)]


def _read_term(part: str) -> tuple[str, float | None, tuple[tuple[str, Value], ...]]:
    """``NAME[:WEIGHT][@OPTION=VALUE]...`` or its path form → name, weight or None, options."""
    head, *texts = part.split("@")
    name, weight = _read_head(head.strip(), part)
    known = options(name)
    given: dict[str, Value] = {}
    for text in texts:
        key, value = _read_option(text.strip(), name, known, part)
        if key in given:
            raise InputError(f"{part!r}: option {key} is given twice; give it once")
        given[key] = value
    chosen = tuple((k, v) for k, v in given.items() if v != known[k].default)
    for key, beside in idle(name, dict(chosen)).items():
        if key in dict(chosen):
            raise InputError(
                f"{part!r}: option {key} of {name} does nothing without {' or '.join(beside)}; give that too"
            )
    return name, weight, tuple(sorted(chosen))


def _read_head(head: str, part: str) -> tuple[str, float | None]:
    name, colon, text = (piece.strip() for piece in head.partition(":"))
    if colon or name in names():
        require(name)
        return name, _weight(text, name, part) if colon else None
    fitting = [known for known in names() if re.match(re.escape(known) + r"-?[0-9.]", name)]
    if fitting:
        known = max(fitting, key=len)
        return known, _weight(name[len(known) :].removeprefix("-"), known, part)
    require(re.sub(r"-?[0-9.].*$", "", name) or name)
    raise InputError(f"{part!r}: expected NAME, NAME:WEIGHT or NAME:WEIGHT@OPTION=VALUE, for example angle:40")


def _read_option(text: str, name: str, known: dict[str, Option], part: str) -> tuple[str, Value]:
    key, equals, value = (piece.strip() for piece in text.partition("="))
    if not equals:  # the path form; the option's own name may have underscores
        key = max((k for k in known if text.startswith(k + "_")), key=len, default=text.partition("_")[0])
        value = text[len(key) + 1 :]
    if key not in known:
        near = suggestion(key, known)
        expected = f"expected one of {', '.join(known)}" if known else f"{name} has no options"
        raise InputError(f"{part!r}: unknown option {key!r} of {name}{near}; {expected}")
    return key, read(value, known[key], name, key, part)


def _weight(text: str, name: str, part: str) -> float:
    return _positive(text, f"{part!r}: the weight of {name}", or_zero=name in BASES)


def _positive(text: str, what: str, *, or_zero: bool = False) -> float:
    number = number_of(text)
    if not (0 < number < math.inf or (or_zero and number == 0)):
        raise InputError(f"{what} is {text!r}; expected a number above 0, for example 20")
    return number


def _weighted(read: Iterable[tuple[str, float | None, tuple[tuple[str, Value], ...]]]) -> Iterable[Term]:
    """Terms with weights: the given ones, else Table 3's for that very mix, else each loss's default."""
    read = list(read)
    base = [weight for name, weight, _ in read if name == "soft"] in ([None], [1.0])
    bare = all(weight is None for name, weight, _ in read if name != "soft")
    wanted = {Term(name, 1, options).key for name, _, options in read}
    row: dict[str, float] = {}
    if base and bare:
        rows = [
            {name: float(weight) for name, _, weight in (part.partition(":") for part in text.split(","))}
            for text in TABLE3_MIXES
        ]
        row = next((weights for weights in rows if set(weights) == wanted), {})
    for name, weight, given in read:
        default = row.get(name, constant(name, "WEIGHT", 1.0))
        yield Term(name, float(default if weight is None else weight), given)
