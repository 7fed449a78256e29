"""The mix: which losses, with which weights and options, as text, as a value and as the name of a path.

Text: terms separated by commas, each ``NAME[:WEIGHT][@OPTION=VALUE]...``, for example ``angle:40,area:20``,
``hinton@T=4``, ``angle:40@layer=hidden``. A weight or a number may be a ramp over the epochs, first to last:
``hinton:4..1``, ``hinton@T=10..1``; and every term may have ``@from=5`` (it counts from epoch 6 on), ``@until=30`` (in the
first 30 epochs), ``@warm=20`` (its weight grows over the first 20 epochs), ``@rows=labelled`` or ``unlabelled`` (of these
clips only), and ``@views=2`` (of each clip as it is, and as ``augment`` changes it). Order does not matter. ``soft:1`` is added unless ``soft`` or
``ce`` is named. Without weights, the paper's weights for that very mix (Table 3 of Cho et al. 2023)
where it has it, else the ``WEIGHT`` of each loss's file (20 for distance, angle and area). With the weight 0
a base term keeps away: ``angle:40,soft:0`` learns relations alone.

Path name (``slug``): the same without ``: = ,``, for example ``angle40+area20+soft1``, ``hinton1@T_4+soft1``.
``LossMix.parse`` reads both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.config import InputError, TrainSettings
from pipeline.losses.library import constant, fewest, reads, teacher_reads
from pipeline.losses.mixable import require_heard, require_mixable
from pipeline.losses.schedule import Ramp
from pipeline.losses.signature import EVERY, Value, adapts, options, shown
from pipeline.losses.spaces import require_space
from pipeline.losses.text import BASES, Written, parts, read_term
from pipeline.losses.unlabelled import require_use
from pipeline.losses.views import require_views
from pipeline.plurals import many

if TYPE_CHECKING:
    from pipeline.losses.explanation import Pair

#: The outputs of a network's last layer, which names the classes; and what a teacher's output layer in its place is fed by.
CLASSES = frozenset({"logits", "cosines", "projected"})

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


@dataclass(frozen=True)
class Term:
    """One loss of a mix. ``options``: only those that differ from the defaults, sorted, with those that every loss has."""

    name: str
    weight: float | Ramp
    options: tuple[tuple[str, Value], ...] = ()

    @property
    def key(self) -> str:
        """The term without its weight, for example ``hinton@T=4``: the same key is the same loss."""
        return self.name + "".join(f"@{key}={shown(value)}" for key, value in self.options)

    def __str__(self) -> str:
        return f"{self.name}:{shown(self.weight)}{self.key.removeprefix(self.name)}"

    @property
    def arguments(self) -> dict[str, Value]:
        """The options that the loss itself is called with."""
        return {key: value for key, value in self.options if key not in EVERY}

    @property
    def order(self) -> tuple[Any, ...]:
        """Sorts terms: by name, weight and options."""
        return self.name, ends(self.weight), tuple((key, ends(value)) for key, value in self.options)

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
        object.__setattr__(self, "terms", tuple(sorted(self.terms, key=lambda term: term.order)))

    @staticmethod
    def parse(text: str) -> LossMix:
        """The mix of a text or a path name. Raises ``InputError`` (one line) for whatever it cannot read."""
        written = parts(text)
        if not any(written):
            raise InputError("no losses named; expected for example angle,area or hinton:1@T=1.5 or soft")
        if "" in written:
            raise InputError(f"{text!r}: nothing between two separators; expected for example angle:40,area:20")
        terms = [read_term(part) for part in written]
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
        return sorted([*self.terms, *([] if self.has_base else [NO_BASE])], key=lambda term: term.order)

    @property
    def has_base(self) -> bool:
        return any(term.name in BASES for term in self.terms)

    @property
    def names_classes(self) -> bool:
        """Whether a term reads the outputs. Where none does, classes are named by chance, however good the embedding."""
        return self.reads is None or not CLASSES.isdisjoint(self.reads)

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
        return tuple(term.key for term in self.terms if adapts(term.name, term.arguments))

    @property
    def regressed(self) -> tuple[tuple[str, str], ...]:
        """(key, layer) of the terms whose adapter makes of a student's layer what the teacher's embedding is."""
        hints = [(term.key, str(dict(term.options).get("layer", "maps"))) for term in self.terms if term.name == "hint"]
        return tuple((key, layer) for key, layer in hints if layer != "maps")

    @property
    def rows(self) -> int:
        """The fewest clips of a batch that every term can learn from."""
        return max(fewest(term.name) for term in self.terms)

    def require(self, how: TrainSettings, table: str = "", based: bool = False) -> None:
        """``InputError`` where a term learns nothing from batches or epochs as in ``how``, which is ``table`` of a preset, and
        where a setting of it would do nothing.

        ``based``: whether there is a student before it whose misses it can learn.
        """
        dot = f"{table}." if table else ""
        self.require_batch(how.batch, f"{dot}batch", based)
        self.require_epochs(how.epochs, f"{dot}epochs")
        require_use(self, how, dot)
        require_space(self, how, dot)
        require_mixable(self, how, dot)
        require_views(self, how, dot)
        require_heard(self, how, dot)

    def require_batch(self, batch: int, setting: str = "batch", based: bool = False) -> None:
        """``InputError`` where a term learns nothing from ``batch`` clips, or from one teacher without a training before.

        ``setting`` states the clips, for example student.batch.
        """
        for term in self.terms:
            taught = teacher_reads(term.name, dict(term.options)) or ()
            given = "members" in taught or (based and "base" in taught)  # members the engine counts
            if not constant(term.name, "ALONE", True) and not given:
                recipe = constant(term.name, "RECIPE", "")
                raise InputError(
                    f"{term.name} of mix {self} cannot be trained by itself with one teacher; "
                    f"expected {constant(term.name, 'CHAIN', 'another training before it')}: "
                    + (f"run experiment {recipe}, or choose other terms" if recipe else "choose other terms")
                )
            if batch < (rows := fewest(term.name)):
                remedy = f", for example --set {setting}={max(rows, 8)}" if "." in setting else ""
                raise InputError(
                    f"{setting} = {batch}: {term.name} of mix {self} needs at least {rows} clips in a batch; "
                    f"expected {rows} or more{remedy}"
                )

    def require_classes(self, classes: int) -> None:
        """``InputError`` where a term needs more classes than the data have: ``CLASSES`` of its file, a number or an option,
        or a number for each of some options' words."""
        for term in self.terms:
            needed = constant(term.name, "CLASSES", 1)
            if isinstance(needed, Mapping):
                needed = max((few for word, few in needed.items() if word in term.arguments.values()), default=1)
            option = needed if isinstance(needed, str) else ""
            if option:
                needed = dict(term.options).get(option, options(term.name)[option].default)
            if classes < needed:
                requirement = f"{option} = {needed}" if option else f"at least {needed} classes"
                raise InputError(
                    f"{term.name} of mix {self} needs {requirement}, and there are {many(classes, 'class')}; expected "
                    + (f"{option} up to {classes}, for example {term.name}@{option}={classes}" if option else "more")
                )

    def require_epochs(self, epochs: int, setting: str = "epochs") -> None:
        """``InputError`` where a term begins or ends after the last of ``epochs``. ``setting`` states them."""
        for term in self.terms:
            for key, most in (("from", epochs - 1), ("until", epochs)):
                epoch: Any = dict(term.options).get(key, 0)
                if epoch > most:
                    raise InputError(
                        f"{setting} = {epochs}: {key}={epoch} of {term.name} in mix {self} is beyond the last epoch; expected "
                        f"{key}={most} or less" + ("" if most else f", or more {setting}")
                    )

    def explain(self, published: float | None = None, pair: Pair | None = None) -> str:
        """What ``--explain`` prints: of each term weight and its origin, formula, layers, options, source.

        ``published``: the accuracy in percent that a paper states for this mix; ``pair``: the networks, else the paper's.
        """
        from pipeline.losses.explanation import explained

        return explained(self, published, pair)


def ends(value: Value) -> tuple[float | str, ...]:
    """A value for sorting: a number counts as a ramp that stays, and a word comes behind all numbers."""
    if isinstance(value, Ramp):
        return False, value.first, value.last
    return (True, value) if isinstance(value, str) else (False, value, value)


#: What a mix without a base term says in its place.
NO_BASE = Term("soft", 0.0)


def union(each: Iterable[tuple[str, ...] | None]) -> tuple[str, ...] | None:
    """All names once, sorted; None where one of them is None."""
    outputs = list(each)
    return None if None in outputs else tuple(sorted({name for part in outputs if part for name in part}))


def named(text: str) -> set[str]:
    """The losses that a text names, those with the weight 0 too. Raises ``InputError`` as ``LossMix.parse`` does."""
    LossMix.parse(text)
    return {read_term(part)[0] for part in parts(text)}


def _weighted(read: Iterable[Written]) -> Iterable[Term]:
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
        yield Term(name, float(default) if weight is None else weight, given)
