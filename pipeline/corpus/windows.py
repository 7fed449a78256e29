"""Long recordings as clips: windows of the clip length, one behind the other, each a clip of its own of the same recording and fold."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from pipeline.corpus.clips import Clip, Corpus
from pipeline.corpus.corpus_toml import Stated

#: What stands behind the name of a clip that is a window: where it begins, in seconds.
START = re.compile(r"@(\d{5,}\.\d{3})s$")

#: Of the shortest window that is kept, where nothing says otherwise: this part of the clip length.
SHORTEST_PART = 0.5


def name_of(clip: str, start: float) -> str:
    """The name of the window of a clip that begins at ``start`` seconds; windows sort by time."""
    return f"{clip}@{start:09.3f}s"


def clip_of(name: str) -> str:
    """The name of the clip that a window is of; of any other clip its own."""
    return START.sub("", name)


def start_of(name: str) -> float:
    """Where a window begins, in seconds, by its name; 0 of any other clip."""
    begins = START.search(name)
    return float(begins[1]) if begins else 0.0


def starts(length: float, seconds: float, hop: float, shortest: float) -> list[float]:
    """Where the windows of ``seconds`` of a sound of ``length`` seconds begin: at 0, and every ``hop`` seconds as long as there is
    sound behind the last window, and at least ``shortest`` seconds of it in the new one. To the millisecond, as names have it."""
    places, count = [0.0], 1
    while places[-1] + seconds < length - 1e-6 and length - (start := round(count * hop, 3)) >= shortest - 1e-6:
        places.append(start)
        count += 1
    return places


def cut(corpus: Corpus, stated: Stated) -> Corpus:
    """The corpus with every file that is longer than a clip as its windows, where that was asked for; else as it is.

    Its name ends in "-windows", so that features and runs of both ways lie beside each other. A file of one window keeps its name.
    """
    if not stated.windows:
        return corpus
    hop = stated.hop or corpus.seconds
    shortest = stated.shortest or SHORTEST_PART * corpus.seconds
    from pipeline.audio.decoding import seconds_stated  # soundfile and numpy: most corpora do without

    lengths = {path: seconds_stated(path) for path in {clip.path for clip in (*corpus.clips, *corpus.unlabelled)}}

    def windows(clips: Iterable[Clip]) -> list[Clip]:
        pieces = []
        for clip in clips:
            places = starts(lengths[clip.path], corpus.seconds, hop, shortest)
            if len(places) == 1:
                pieces.append(clip)
            else:
                pieces += [replace(clip, name=name_of(clip.name, start), start=start) for start in places]
        return sorted(pieces, key=lambda clip: (clip.fold, clip.name))

    return replace(
        corpus,
        name=f"{corpus.name}-windows",
        clips=tuple(windows(corpus.clips)),
        unlabelled=tuple(windows(corpus.unlabelled)),
        windows=True,
    )


def whole(corpus: Corpus) -> Corpus:
    """The corpus with its files as clips again."""
    if not corpus.windows:
        return corpus

    def files(clips: Iterable[Clip]) -> tuple[Clip, ...]:
        each = {clip_of(clip.name): clip for clip in clips}
        return tuple(replace(clip, name=name, start=None) for name, clip in each.items())

    return replace(corpus, clips=files(corpus.clips), unlabelled=files(corpus.unlabelled))
