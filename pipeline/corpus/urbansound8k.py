"""UrbanSound8K: ``metadata/UrbanSound8K.csv`` and ``audio/fold1/`` ... ``audio/fold10/``, or both at the top of the folder.

J. Salamon, C. Jacoby, J. P. Bello, "A Dataset and Taxonomy for Urban Sound Research", ACM Multimedia 2014. CC BY-NC 3.0.
Clips of up to 4 s.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.config import InputError
from pipeline.corpus.clips import Clip, Corpus, checked
from pipeline.corpus.tables import first_file, first_folder, table

PLACES = ("UrbanSound8K",)

#: Classes of UrbanSound8K; the place is the label.
URBANSOUND8K = (
    "air_conditioner",
    "car_horn",
    "children_playing",
    "dog_bark",
    "drilling",
    "engine_idling",
    "gun_shot",
    "jackhammer",
    "siren",
    "street_music",
)


#: Seconds to which its clips are cut or padded.
SECONDS = 4.0


def urbansound8k(root: Path) -> Corpus:
    """UrbanSound8K in its own layout, or with the CSV and the folds at the top of the folder."""
    path = first_file(root, "metadata/UrbanSound8K.csv", "UrbanSound8K.csv")
    folds = tuple(range(1, 11))
    folders = {k: first_folder(root / "audio" / f"fold{k}", root / f"fold{k}") for k in folds}
    if not any(folders.values()):
        raise InputError(
            f"no folder audio/fold1 … audio/fold10 (nor fold1 … fold10) in {root}; "
            "expected at least one fold's clips there: unpack the data set again"
        )
    clips: list[Clip] = []
    sources: dict[str, str] = {}  # one text for all clips of a recording
    for row in table(
        path, "slice_file_name", "fsID", "start", "end", "fold", "classID", "class", unique="slice_file_name"
    ):
        name, fold = row.file_name("slice_file_name"), row.whole("fold", 1, 10)
        label = row.whole("classID", 0, len(URBANSOUND8K) - 1)
        if row["class"] != URBANSOUND8K[label]:
            raise row.error("class", f"{URBANSOUND8K[label]!r} for classID {label}")
        start, end = row.number("start"), row.number("end")
        if not 0 <= start < end:
            raise row.error("end", f"more than start = {row['start']}, which is 0 or more")
        folder = folders[fold]
        if folder is not None:
            source = str(row.whole("fsID", 0))
            source = sources.setdefault(source, source)
            clips.append(Clip(name, folder / name, fold, label, source, round(end - start, 6)))
    return checked(root, "urbansound8k", URBANSOUND8K, folds, SECONDS, clips, path)
