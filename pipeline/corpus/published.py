"""What is known of the data sets from their publications: where their tables lie, clips of each fold and class."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.corpus import URBANSOUND8K as URBAN_CLASSES


@dataclass(frozen=True)
class Published:
    """What is known of a data set from its publication."""

    annotations: tuple[str, str]
    """Where the table of clips may lie."""
    columns: tuple[str, str, str]
    """Of that table: file, class number, class name."""
    folds: dict[int, int]
    """Clips of each fold."""
    classes: dict[str, int]
    """Clips of each class."""
    ordered: bool
    """Whether ``classes`` is in the order of the class numbers, from 0."""
    seconds: float | None = None
    """Length of every clip; None: in the columns start and end."""


_URBAN_TABLE = ("metadata/UrbanSound8K.csv", "UrbanSound8K.csv")
_ESC_TABLE = ("meta/esc50.csv", "esc50.csv")
_ESC_COLUMNS = ("filename", "target", "category")

URBANSOUND8K = Published(
    annotations=_URBAN_TABLE,
    columns=("slice_file_name", "classID", "class"),
    folds=dict(enumerate((873, 888, 925, 990, 936, 823, 838, 806, 816, 837), start=1)),
    classes=dict(zip(URBAN_CLASSES, (1000, 429, 1000, 1000, 1000, 1000, 374, 1000, 929, 1000))),
    ordered=True,
)

#: In the order of the labels, where they have one.
ESC50_CLASSES = (
    "dog rooster pig cow frog cat hen insects sheep crow rain sea_waves crackling_fire crickets "
    "chirping_birds water_drops wind pouring_water toilet_flush thunderstorm crying_baby sneezing "
    "clapping breathing coughing footsteps laughing brushing_teeth snoring drinking_sipping "
    "door_wood_knock mouse_click keyboard_typing door_wood_creaks can_opening washing_machine "
    "vacuum_cleaner clock_alarm clock_tick glass_breaking helicopter chainsaw siren car_horn engine "
    "train church_bells airplane fireworks hand_saw"
)

ESC50 = Published(
    annotations=_ESC_TABLE,
    columns=_ESC_COLUMNS,
    folds=dict.fromkeys(range(1, 6), 400),
    classes=dict.fromkeys(ESC50_CLASSES.split(), 40),
    ordered=True,
    seconds=5.0,
)

#: In the order of the labels, where they have one.
ESC10_CLASSES = "dog rooster rain sea_waves crackling_fire crying_baby sneezing clock_tick helicopter chainsaw"

ESC10 = Published(
    annotations=_ESC_TABLE,
    columns=_ESC_COLUMNS,
    folds=dict.fromkeys(range(1, 6), 80),
    classes=dict.fromkeys(ESC10_CLASSES.split(), 40),
    ordered=False,
    seconds=5.0,
)

PUBLISHED = {"urbansound8k": URBANSOUND8K, "esc50": ESC50, "esc10": ESC10}
