"""The user's own backgrounds and rooms: whether they may stand behind the clips of a corpus."""

from __future__ import annotations

from pathlib import Path

from pipeline import folder_contents
from pipeline.audio import surroundings
from pipeline.config import FeatureSpec, InputError
from pipeline.corpus import Clip, Corpus
from pipeline.files import sha256


def check(corpus: Corpus, spec: FeatureSpec) -> None:
    """``InputError`` where a folder of backgrounds or rooms holds other files than the settings say, files that are no recordings,
    or clips of the corpus: those of a held-out fold would be heard behind the clips that train."""
    for name in ("backgrounds", "rooms"):
        if not (setting := getattr(spec, name)):
            continue
        folder_contents.require_same(name, setting)
        folder, root = folder_contents.folder_of(setting).resolve(), corpus.root.resolve()
        if folder.is_relative_to(root) or root.is_relative_to(folder):
            where = f"it lies in {corpus.root}, or that in it"
        elif same := copied(folder, corpus):
            where = f"clip {same.name} lies in it"
        else:
            continue
        raise InputError(
            f"features.{name} = {setting!r}: {where}, and clips that are held out would be heard behind others; expected recordings that "
            "are not of the corpus"
        )
    surroundings.check(spec)


def copied(folder: Path, corpus: Corpus) -> Clip | None:
    """A clip whose file lies in a folder as well, byte for byte."""
    by_size: dict[int, list[Clip]] = {}
    for clip in (*corpus.clips, *corpus.unlabelled):
        if clip.path.is_file():
            by_size.setdefault(clip.path.stat().st_size, []).append(clip)
    for path in folder_contents.files_of(folder):
        alike = by_size.get(path.stat().st_size, [])
        content = sha256(path) if alike else ""
        for clip in alike:
            if sha256(clip.path) == content:
                return clip
    return None
