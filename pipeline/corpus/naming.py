"""Which recording a clip was cut from, told by its name and those of the others: ``recordings`` says the rule."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline.corpus import marks

#: Names by which published sets say the recording: UrbanSound8K's, as Freesound's (recording-class-occurrence-slice),
#: and ESC-50's (fold-recording-take-class).
PUBLISHED_NAMES = (re.compile(r"(\d+)-\d+-\d+-\d+"), re.compile(r"\d-(\d+)-[A-Z]-\d+"))


@dataclass(frozen=True, slots=True)  # there is one per clip
class Cut:
    """A clip's name taken apart."""

    folder: str
    """"CLASS", or "CLASS/SUBFOLDER"."""
    base: str
    """Without the marks of a piece: "garden"; "" where it is nothing but marks."""
    piece: str
    """The marks: "_03"."""
    sure: bool
    """They are such as only pieces have."""
    published: bool = False
    """``base`` is the recording's own name, in any class."""

    @property
    def source(self) -> str:
        return self.base if self.published else f"{self.folder}/{self.base}".rstrip("/")


def class_of(name: str) -> str:
    """Of a clip "CLASS/CLIP.wav"."""
    return name.partition("/")[0]


def recordings(files: Iterable[str]) -> dict[str, str]:
    """Of each clip ("CLASS/…/CLIP.wav") the recording that it was cut from, as far as names say: "CLASS/…/BASE".

    Clips of a folder are of one recording where their names are the same but for the marks of a piece at the end.
    Marks that only pieces have: a range of time ("_0.0_1.0", "_5000-6000ms", "_3s-4s", "[0-5]"; two whole numbers as in
    AudioSet's "ID_30_40" where all of the same beginning are ranges, see ``marks.ranges``), a time with its unit
    ("_10s", "_1m30s"), "chunk12", "part 3 of 7" and such, also at the beginning. Marks that clips of their own have too:
    one number ("_03", " (1)", "-Take2", "_12.5"; "000" glued to the name, see ``marks.filled_up``). Where such a number
    alone would make all clips of a class one recording, it counts clips, not pieces ("dog_001", "dog_002"), and each is
    a recording of its own. So is what ends in a date or a time of day.

    The same beginning in two classes is one recording (named "BASE", without a class) unless both classes have the same
    piece of it, or it would hold more than half of all clips. Names as UrbanSound8K (Freesound) and ESC-50 have them say
    the recording themselves: "100032".
    """
    cuts = taken_apart(files)
    sources = {name: cut.source for name, cut in cuts.items()}
    several: dict[str, set[str]] = defaultdict(set)
    sure: set[str] = set()
    for name, cut in cuts.items():
        several[class_of(name)].add(cut.source)
        if cut.sure or cut.published:
            sure.add(class_of(name))
    counted = {kind for kind, recordings in several.items() if len(recordings) == 1 and kind not in sure}
    joined = across_classes({name: cut for name, cut in cuts.items() if class_of(name) not in counted}, len(cuts))
    return {name: name if class_of(name) in counted else joined.get(name, source) for name, source in sources.items()}


def beginnings(files: Iterable[str]) -> dict[str, str]:
    """As ``recordings``, without a look at how many a class has, or at other classes."""
    return {name: cut.source for name, cut in taken_apart(files).items()}


def taken_apart(files: Iterable[str]) -> dict[str, Cut]:
    """``Cut`` of each clip."""
    places: dict[str, dict[str, str]] = defaultdict(dict)
    for name in files:
        folder, _, last = unicodedata.normalize("NFC", name).rpartition("/")
        places[folder][name] = Path(last).stem
    pairs = marks.ranges(stem for stems in places.values() for stem in stems.values())
    cuts = {}
    for folder, stems in places.items():
        others, glued = {stem.lower() for stem in stems.values()}, marks.filled_up(stems.values())
        for name, stem in stems.items():
            cuts[name] = cut(folder, stem, others, pairs, glued)
    return cuts


def cut(folder: str, stem: str, others: set[str], pairs: dict[str, str], glued: dict[str, str]) -> Cut:
    for form in PUBLISHED_NAMES:
        if published := form.fullmatch(stem):
            return Cut(folder, published[1], stem, sure=True, published=True)
    whole, sure = marks.original(stem, others), False
    if whole in pairs:
        base, sure = pairs[whole], True
    elif whole in glued:
        base = glued[whole]
    else:
        base, sure = marks.without(whole, class_of(folder))
    if whole.isdigit() and "/" in folder:  # a piece of what the sub-folder is called after
        base = ""
    elif not base.strip("-_. ") and not sure:  # a number alone, or a name such as "-7"
        base = whole
    piece = re.sub(rf"[-_. ]*{re.escape(class_of(folder))}$", "", stem.removeprefix(base), flags=re.IGNORECASE)
    return Cut(folder, base.rstrip("-_. ") if sure else base, piece, sure)


def across_classes(cuts: dict[str, Cut], clips: int) -> dict[str, str]:
    """Clip → the recording, named without a class, of those whose beginning is in several classes. Of ``clips`` in all."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name, cut_name in cuts.items():
        if cut_name.base and not cut_name.published:
            groups[f"{cut_name.folder.partition('/')[2]}/{cut_name.base}".lstrip("/")].append(name)
    joined = {}
    for base, names in groups.items():
        pieces = Counter(piece for piece, _ in {(cuts[name].piece.lower(), class_of(name)) for name in names})
        if len({class_of(name) for name in names}) > 1 and max(pieces.values()) == 1 and 2 * len(names) <= clips:
            joined.update(dict.fromkeys(names, base))
    return joined
