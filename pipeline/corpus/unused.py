"""How much of long recordings the clip length leaves unused: what a corpus' table does not say, the files' headers do."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.corpus.clips import Corpus
from pipeline.plurals import many, plural

#: Files that are this much longer (seconds) are not told: rounding, and blocks that formats fill up.
SLACK = 0.1


def told(lengths: Iterable[float], clip_seconds: float) -> str:
    """A line for recordings of these ``lengths`` in seconds of which only the first ``clip_seconds`` are heard; "" where all is heard."""
    lengths = list(lengths)
    longer = [length for length in lengths if length > clip_seconds + SLACK]
    if not longer:
        return ""
    unused, total = sum(length - clip_seconds for length in longer), sum(lengths)
    return (
        f"{len(longer):,} of {many(len(lengths), 'file')} {plural(len(longer), 'is', 'are')} longer than a clip ({clip_seconds:g} s): of {amount(total)} {amount(unused)} "
        f"({100 * unused / total:.0f} %) are left unused, for only the beginning of each is heard; cut them into pieces "
        "(windows = true in corpus.toml, or --windows; or NAME_01.wav, NAME_02.wav: one recording, one fold), or raise seconds there"
    )


def amount(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def left_unused(corpus: Corpus) -> str:
    """``told`` of the files of a corpus whose table gives no lengths; files that cannot be read are left to whoever reads them."""
    paths = [clip.path for clip in (*corpus.clips, *corpus.unlabelled) if clip.seconds is None]
    if not corpus.own or corpus.windows or not paths:
        return ""
    from pipeline.audio.decoding import seconds_stated  # soundfile and numpy: most commands do without

    return told(filter(None, map(seconds_stated, paths)), corpus.seconds)
