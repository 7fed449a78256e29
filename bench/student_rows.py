"""The rows of ``bench.students``: which runs each is of, part by part, in the order in which they are trained.

Rows of the same settings are the same runs, whichever part they stand in.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

from pipeline.feature_settings import ALL, FEATURES
from pipeline.report import paper

LABELS, TAUGHT = "ce", "ce:0.3,hinton:0.7@T=2"

#: Seeds of the teachers of preset strong that teach together.
TWO = (0, 1)

#: Rows take so many of the seeds asked for, first to last; those by which ``strong`` is judged so many.
FEW, MANY = 3, 5


@dataclass(frozen=True)
class Row:
    """Which runs a row of a table is of."""

    name: str
    preset: str
    mix: str
    """"" of the preset's teachers."""
    sets: tuple[str, ...] = ()
    teachers: tuple[int, ...] = ()
    """Seeds of the teachers that teach together, of a row of teachers its own; (): the one that all seeds share."""
    most: int = FEW
    """Of the seeds asked for."""
    heard: tuple[str, ...] = ()
    """Settings of the features that its teachers hear in place of its own."""
    share: float = 1.0
    """Of the training clips that have their labels; each seed then has a teacher of its own."""

    @property
    def student(self) -> str:
        """The preset that people know it by."""
        return self.name.partition(",")[0]


@dataclass(frozen=True)
class Part:
    """A table with its rows."""

    name: str
    title: str
    rows: tuple[Row, ...]
    space: str = ""
    """What is searched before; its rows are then beside those of the search alone."""


def left_out(base: Row, name: str, *sets: str) -> Row:
    """``base`` but for these settings, at the seeds that such rows have."""
    return replace(base, name=name, sets=(*base.sets, *sets), most=FEW)


# ``tiny`` is ``small`` with another student, and so needs no teachers of its own.
TINY = ('student.model="tiny"',)

#: What the teachers of ``strong`` hear (``make strong``).
MEL = ('features.use="melspectrogram"', "features.bins=64")

#: Named in advance: by which the goals are judged, and what stands beside them.
SOFT = Row("default, soft", "default", "soft", most=MANY)
RESNET = Row("resnet18, teacher of default", "default", "")
SMALL_LABELS = Row("small, labels alone", "small", LABELS)
SMALL = Row("small, distilled", "small", TAUGHT)
TINY_TAUGHT = Row("tiny, distilled", "small", TAUGHT, TINY)
STRONG_TEACHER = Row("large on 64 mel bands, teacher of strong", "strong", "", MEL, teachers=TWO)
STRONG = Row("strong, two teachers", "strong", TAUGHT, teachers=TWO, most=MANY, heard=MEL)
STRONG_ONE = Row("strong, one teacher", "strong", TAUGHT, most=MANY, heard=MEL)
STRONG_LABELS = Row("strong, labels alone", "strong", LABELS, most=MANY)

#: In the order in which they are trained: what each costs against what it tells.
PRESETS = (
    SMALL_LABELS,
    Row("large, teacher of small and tiny", "small", ""),
    SMALL,
    RESNET,
    SOFT,
    STRONG_TEACHER,
    STRONG,
    STRONG_LABELS,
    STRONG_ONE,
    Row("tiny, labels alone", "small", LABELS, TINY),
    TINY_TAUGHT,
)

#: Rows of ``PRESETS`` of which the first less the second is given, and the points that were asked for; None: none were.
PAIRS = (
    ("small, labels alone", "default, soft", None),
    ("small, distilled", "default, soft", 14),
    ("small, distilled", "small, labels alone", 3),
    ("tiny, labels alone", "small, labels alone", None),
    ("tiny, distilled", "small, distilled", -3),
    ("tiny, distilled", "tiny, labels alone", None),
    ("strong, two teachers", "default, soft", 6),
    ("strong, two teachers", "resnet18, teacher of default", 0),
    ("strong, two teachers", "strong, labels alone", None),
    ("strong, one teacher", "strong, labels alone", None),
    ("strong, two teachers", "strong, one teacher", None),
    ("small, distilled", "strong, two teachers", None),
)

SGD = ('student.optimizer="sgd"', "student.lr=0.002", "student.weight_decay=1e-4")

#: Each without what its name says. The first is the whole; settings in their place are those of preset default, or none.
WITHOUT_STRONG = (
    left_out(STRONG, "strong as it is, two teachers"),
    left_out(STRONG_LABELS, "teachers (labels alone)"),
    left_out(STRONG_ONE, "several teachers (one)"),
    replace(left_out(STRONG, "teachers' mel bands (they hear its five features)"), heard=()),
    replace(left_out(STRONG, "labels (teachers alone)"), mix="hinton:0.7@T=2,soft:0"),
    left_out(STRONG, "changed copies (clean and noisy alone)", "features.views=0"),
    left_out(
        STRONG,
        "one view of a clip in an epoch (all eight in each of 6)",
        'student.views="all"',
        "student.epochs=6",
        "student.warmup_epochs=0.3",
    ),
    left_out(STRONG, "AdamW (SGD, rate and decay of default)", *SGD),
    left_out(STRONG, "the cosine (a step to a tenth at half)", 'student.schedule="step"', "student.step_epochs=25"),
    left_out(STRONG, "warm-up", "student.warmup_epochs=0"),
    left_out(STRONG, "50 epochs (20)", "student.epochs=20", "student.warmup_epochs=1"),
    left_out(STRONG, "batches of 16 (64)", "student.batch=64"),
    left_out(STRONG, "batches of 16 (8, as published)", "student.batch=8"),
    left_out(STRONG, "weight decay", "student.weight_decay=0"),
    left_out(
        STRONG,
        "the teachers' mixup, smoothing, augmentation and averaged weights",
        *("teacher.mixup=0", "teacher.label_smoothing=0", 'teacher.augment="none"', "teacher.average=0"),
    ),
    left_out(STRONG, "nothing, with gradients clipped to 1 added", "student.clip_norm=1"),
    left_out(
        STRONG, "nothing, with inputs shifted in time added", 'student.augment="shift"', 'student.teacher_hears="views"'
    ),
)

WITHOUT_SMALL = (
    left_out(SMALL, "small as it is, one teacher"),
    left_out(SMALL_LABELS, "the teacher (labels alone)"),
    left_out(SMALL, "augmentation", 'student.augment="none"'),
    left_out(SMALL, "mixup", "student.mixup=0"),
    left_out(SMALL, "averaged weights", "student.average=0"),
    left_out(SMALL, "smoothed labels", "student.label_smoothing=0"),
    left_out(SMALL, "AdamW (SGD, rate and decay of default)", *SGD),
    left_out(SMALL, "the cosine (a step to a tenth at half)", 'student.schedule="step"', "student.step_epochs=12"),
    left_out(SMALL, "warm-up", "student.warmup_epochs=0"),
    left_out(
        SMALL,
        "one view of a clip in an epoch (both in each of 12)",
        *('student.views="all"', "student.epochs=12", "student.warmup_epochs=0.5"),
    ),
    left_out(SMALL, "batches of 64 (16)", "student.batch=16"),
    left_out(SMALL, "weight decay", "student.weight_decay=0"),
    left_out(SMALL, "64 mel bands (the paper's five features)", 'features.use="all"', "features.bins=20"),
    replace(left_out(SMALL, "nothing, with two teachers in place of one"), teachers=TWO),
    left_out(SMALL, "nothing, with six changed copies added", "features.views=6"),
    left_out(SMALL, "nothing, with gradients clipped to 1 added", "student.clip_norm=1"),
)

PCEN, BOTH = 'features.use="pcen"', 'features.use="melspectrogram,pcen"'

#: Of 64 bands each; a teacher of ``small`` hears what its student hears.
INPUTS = (
    left_out(SMALL_LABELS, "mel bands in dB, labels alone"),
    left_out(SMALL_LABELS, "pcen, labels alone", PCEN),
    left_out(SMALL_LABELS, "both, labels alone", BOTH),
    left_out(SMALL, "pcen, distilled", PCEN),
    left_out(SMALL, "both, distilled", BOTH),
    left_out(SMALL, "mel bands in dB, distilled"),
    left_out(STRONG, "strong, teachers of mel bands in dB"),
    replace(left_out(STRONG, "strong, teachers of pcen"), heard=(PCEN, MEL[1])),
    replace(left_out(STRONG, "strong, teachers of both"), heard=(BOTH, MEL[1])),
)

#: Table 3 by one teacher of strong, as the paper has it by one of its own.
TABLE3 = tuple(Row(one.name, "strong", one.mix, heard=MEL) for one in paper.TABLE3[1:])

#: Named before any was trained: the paper's relations, and four terms of docs/terms.md, with the weights of their files.
ON_TOP = (
    left_out(STRONG, "labels and two teachers' outputs"),
    *(
        replace(left_out(STRONG, name), mix=f"{TAUGHT},{terms}")
        for name, terms in (
            ("+ angle, area", "angle:40,area:20"),
            ("+ distance", "distance"),
            ("+ angle", "angle"),
            ("+ similarity", "similarity"),
            ("+ pearson", "pearson"),
            ("+ affinity", "affinity"),
            ("+ projector", "projector"),
        )
    ),
)

#: Of clips without labels neither labels nor the teacher's outputs are learned: they are in no batch.
KNOWN_ALONE = {"soft": "soft@rows=labelled", TAUGHT: "ce:0.3,hinton:0.7@T=2@rows=labelled", LABELS: LABELS}

#: Shares of the training clips.
QUARTER, HALF, WHOLE = 0.25, 0.5, 1.0

#: Of ``SHARES``: whose accuracy is looked at.
SHARED = (SMALL, SOFT, STRONG_ONE, SMALL_LABELS, STRONG_LABELS, TINY_TAUGHT)


def of_share(row: Row, share: float) -> Row:
    """``row`` on a share of the training clips: whole recordings, the same ones for all runs of a seed."""
    if share == WHOLE:
        return replace(row, most=FEW)
    sets = (*row.sets, f"unlabelled={1 - share:g}")
    return replace(row, mix=KNOWN_ALONE[row.mix], sets=sets, most=FEW, share=share)


SHARES = tuple(of_share(row, share) for row in SHARED for share in (WHOLE, HALF, QUARTER))


def subsets() -> list[str]:
    """Every choice of the five features: one alone, all, without one, two, three."""
    sizes = (1, len(FEATURES), len(FEATURES) - 1, 2, 3)
    every = [names for size in sizes for names in itertools.combinations(FEATURES, size)]
    return [ALL if len(names) == len(FEATURES) else ",".join(names) for names in every]


#: Of ``FEATURE_ROWS``: the two students, on labels alone; both read 20 rows of each feature, so that what is stored serves both.
OF_FEATURES = {"strong": "features.views=0", "small": "features.bins=20"}


def of_features(use: str, preset: str) -> Row:
    return Row(use, preset, LABELS, (OF_FEATURES[preset], f'features.use="{use}"'), most=1)


FEATURE_ROWS = tuple(of_features(use, preset) for use in subsets() for preset in OF_FEATURES)

#: In the order in which they are trained.
PARTS = (
    Part("presets", "Students by the presets", PRESETS),
    Part("nested-strong", "Strong, settings by search", (STRONG_TEACHER, SOFT, RESNET), space="strong"),
    Part("nested-small", "Small, settings by search", (SMALL_LABELS, SOFT), space="small"),
    Part("inputs", "What small hears, and the teachers of strong", INPUTS),
    Part("without-strong", "Strong without one ingredient", WITHOUT_STRONG),
    Part("table3", "Table 3 with the strong teacher", (STRONG_TEACHER, *TABLE3)),
    Part("on-top", "Terms on top of a good teacher", ON_TOP),
    Part("shares", "A quarter, a half, all of the training clips", SHARES),
    Part("without-small", "Small without one ingredient", WITHOUT_SMALL),
    Part("features", "What each choice of the five features gives", FEATURE_ROWS),
)
