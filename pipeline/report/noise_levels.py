"""How accurate, or how high in mean average precision, students stay with noise on their inputs, for experiments of which some were trained with it.

The student sees x + σ · std · ε, std the deviation of each input over its training rows, ε Gaussian: as in training (Arani, Sarfraz and
Zonooz, WACV 2021), here on the held-out fold's clean clips, with the same ε for every row and level. What was measured is kept in a CSV
file beside the table, by the digest of the weights, each line with the CRC-32 of what stands before it.
"""

from __future__ import annotations

import csv
import io
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np

from pipeline import cache, label_sets, places
from pipeline.errors import Damaged, InputError
from pipeline.files import write_atomic
from pipeline.report.table import Column, Section, Table, number
from pipeline.runs import Predictions, Record
from pipeline.runs.by_clip import by_clip
from pipeline.runs.damage import spared
from pipeline.runs.own_clips import of_fold
from pipeline.runs.weights import read_weights

LEVELS = (0.0, 0.05, 0.1, 0.2, 0.5)

#: Weights of a run → its accuracy, or mean average precision, at each level, in [0, 1].
Measured = dict[str, tuple[float, ...]]

KEY, CHECKSUM = "weights", "crc32"
TITLE = (
    "{} with Gaussian noise on the inputs, of this share of each input's deviation over the training rows; the same noise for "
    "every row, %, mean over the runs."
)


def section(rows: Mapping[str, Sequence[Record]], kept_in: Path) -> tuple[Section, ...]:
    """A table of the rows (name → finished runs), where a run of them was trained with noise on its inputs; else nothing.

    ``kept_in``: the CSV file of what was measured before, which gets what is measured now. Runs whose features are not
    in the cache as they were are left out; of damaged ones the command's end tells.
    """
    if not any(trained_with(record) for members in rows.values() for record in members):
        return ()
    before = kept(kept_in)
    measured: Measured = {}
    lines = []
    for name, members in rows.items():
        for record in members:
            weights = record.result.weights
            if weights and record.result.score is not None and weights not in measured:
                accuracies = before.get(weights) or spared(partial(at_levels, record))
                measured |= {weights: accuracies} if accuracies else {}
        each = [measured[record.result.weights] for record in members if record.result.weights in measured]
        if each:
            lines.append((name, [100 * sum(level) / len(each) for level in zip(*each)], len(each)))
    if not lines:
        return ()
    if measured.keys() - before.keys():
        write_atomic(kept_in, as_csv(before | measured).encode())
    columns = [Column("row", lambda line: line[0], "Row")]
    columns += [
        Column(f"noise_{level:g}", partial(level_of, place=place), f"{level:g}", format=number)
        for place, level in enumerate(LEVELS)
    ]
    columns.append(Column("n", lambda line: line[2], "n", format=str))
    measured_as = label_sets.measure(any(record.several_labels for members in rows.values() for record in members))
    title = TITLE.format(measured_as.capitalize())
    return (Section("noise on the inputs", (Table.build(title, columns, lines),)),)


def level_of(line: tuple[str, list[float], int], place: int) -> float:
    return line[1][place]


def trained_with(record: Record) -> float:
    """The noise on the inputs that a run was trained with."""
    return record.trained_by.input_noise


def at_levels(record: Record) -> tuple[float, ...]:
    """A run's accuracy, or mean average precision, at each level, on the clean clips of its held-out fold; () where its features are gone or others now.

    ``Damaged`` where they cannot be read, or its weights are not what was written.
    """
    if record.is_of_images:
        return ()
    path = cache.fold_path(places.cache(), record.corpus, record.settings.features, record.fold)
    if not path.is_file():
        return ()
    try:
        header = cache.read_header(path)
        if header.digest != record.data.get(record.fold):
            return ()
        data = cache.load([path], record.trained_by.features_in)
    except InputError as error:  # the other figures of a report need no features
        raise Damaged(str(error)) from None
    import torch  # a report of other experiments does without

    from pipeline.models import saved

    rows, own = of_fold(record, header)
    if header.label_sets:
        own = data.targets[own]
    clean, names = torch.from_numpy(data.features[rows, 0]), np.array([header.clips[row] for row in rows])
    network = saved.network_of(read_weights(record.folder))
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(record.fold)) * network.std
    with torch.no_grad():
        told = [
            torch.cat([network(x + level * e).logits for x, e in zip(clean.split(64), noise.split(64))]).numpy()
            for level in LEVELS
        ]
    files = [by_clip(Predictions(names, own, logits, names)) for logits in told]
    if header.label_sets:
        return tuple(label_sets.mean_average_precision(one.labels, one.logits) for one in files)
    return tuple(int((one.logits.argmax(-1) == one.labels).sum()) / len(one.labels) for one in files)


def kept(path: Path) -> Measured:
    """What was measured before; lines that are none, or not as they were written, are left out, and measured again.

    Files of earlier versions have no checksums.
    """
    measured: Measured = {}
    with suppress(OSError, UnicodeDecodeError, csv.Error):
        for line in csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))):
            with suppress(KeyError, TypeError, ValueError):
                values = tuple(float(line[f"{level:g}"]) for level in LEVELS)
                expected = checksum(line_of_csv(line[KEY], values))
                whole = line.get(CHECKSUM, expected) == expected
                if line[KEY] and whole and all(0 <= value <= 1 for value in values):
                    measured[line[KEY]] = values
    return measured


def as_csv(measured: Measured) -> str:
    head = ",".join([KEY, *(f"{level:g}" for level in LEVELS), CHECKSUM])
    lines = [line_of_csv(weights, values) for weights, values in sorted(measured.items())]
    return "\n".join([head, *(f"{line},{checksum(line)}" for line in lines), ""])


def line_of_csv(weights: str, values: Sequence[float]) -> str:
    return ",".join([weights, *map(repr, values)])


def checksum(line: str) -> str:
    return f"{zlib.crc32(line.encode()):08x}"
