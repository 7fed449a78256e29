"""Every figure that was published of the method, and which run it may stand beside (Cho et al. 2023)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pipeline.feature_settings import ALL
from pipeline.losses.mix import TABLE3_MIXES, LossMix

if TYPE_CHECKING:
    from pipeline.runs import Record


class Published(NamedTuple):
    """A row of a table of the paper; a row of one's own has no percent."""

    name: str
    mix: str
    """Canonical text; "" for what no other network teaches."""
    percent: float | None = None


#: Trainable weights of the two networks, for input (5, 20, 173) and ten classes.
PARAMETERS = {"resnet18": 178_466, "cnn2": 116_538}

#: Table 3, UrbanSound8K: accuracy in percent, mean of ten folds. The mixes are those of ``losses.mix``, in their order.
TABLE3 = (
    Published("ResNet-18 teacher", "", 68.16),
    *(
        Published(name, mix, percent)
        for mix, (name, percent) in zip(
            TABLE3_MIXES,
            (
                ("student, soft alone (baseline)", 63.70),
                ("angle", 64.46),
                ("distance, angle", 65.12),
                ("distance, area", 65.13),
                ("angle, area", 65.28),
                ("distance, angle, area", 64.27),
                ("hinton (T = 1.5)", 64.37),
                ("hinton, angle, area", 65.53),
            ),
            strict=True,
        )
    ),
)

#: Table 3 is of this data set and these networks only.
DATASET, NETWORKS = "urbansound8k", ("resnet18", "cnn2")


def chained(*terms: str) -> str:
    """The mix of a student of its own kind: labels, the teacher's outputs, and these terms."""
    return str(LossMix.parse(",".join([*terms, "ce", "soft"])))


#: Table 4, CIFAR-100: accuracy in percent of the ensemble of three generations; the first row is generation 0.
TABLE4 = (
    Published("ResNet-56", "", 59.72),
    Published("BAN ensemble (baseline)", chained(), 64.30),
    Published("+ distance", chained("distance"), 64.44),
    Published("+ angle", chained("angle"), 65.36),
    Published("+ area", chained("area"), 64.28),
    Published("+ distance + angle", chained("distance", "angle"), 64.32),
    Published("+ distance + area", chained("distance", "area"), 63.86),
    Published("+ angle + area", chained("angle", "area"), 64.82),
    Published("+ distance + angle + area", chained("distance", "angle", "area"), 64.50),
)

#: Table 4 is of this network only, and of ensembles of so many.
CHAINED_NETWORK, MEMBERS = "resnet56", 3


def percent(table: tuple[Published, ...], mix: str) -> float | None:
    """The figure of a mix in a table of the paper; None where it has none."""
    return {row.mix: row.percent for row in table}.get(mix)


def of_run(run: Record) -> float | None:
    """Table 3's figure for a teacher's or student's data set, network and mix; None where there is none, and for a run of some of the
    classes, of other features than the paper's five, or without a share of the labels."""
    network = NETWORKS[0] if run.is_teacher else NETWORKS[1]
    other = run.synthetic or run.dataset != DATASET or run.model != network or run.settings.features.use != ALL
    if other or run.trained_by.classes or run.trained_by.unlabelled or not run.is_teacher_or_student:
        return None
    return percent(TABLE3, run.row_mix)


def place(table: tuple[Published, ...], mix: str) -> tuple[int, str]:
    """Sorts by the rows of a table in its order, then other mixes by name."""
    order = [row.mix for row in table]
    return (order.index(mix), "") if mix in order else (len(order), mix)
