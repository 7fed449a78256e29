"""Run folders → one HTML page that opens from disk: tables, pictures, confused clips to listen to, what ran, what ``explain`` and
experiments measured, thresholds of students that are shipped.

``write`` makes ``reports/<corpus>/index.html`` and ``reports/<corpus>/pictures/<table>/<picture>.png|.svg|.csv``. The
page holds its pictures and its style, has no script and asks nothing of a network. Only the sounds are not in it: a
player reads its clip from where the corpus lies, by a relative path, and is there only where the file is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from pipeline import report, runs
from pipeline.report import kept, plots
from pipeline.report.explaining import results
from pipeline.report.page import gathering, layout, shipping
from pipeline.report.page.pictures import Embeddings, Gallery

__all__ = ["Embeddings", "write"]


def write(
    runs_root: Path,
    reports_root: Path,
    corpus: str,
    *,
    mixes: Iterable[str] | None = None,
    embeddings: Embeddings | None = None,
    audio: Mapping[str, Path] | None = None,
    whole: report.Contents | None = None,
    finals_root: Path | None = None,
) -> Path:
    """Write the page of a corpus' finished runs and its pictures; the result is the page's path.

    ``mixes`` as in ``report.contents``: the page has the rows of that table. ``embeddings(run folder)`` gives the
    held-out clips' embeddings, (clips, D) float32, labels and names; where it is None, or raises ``InputError``, the
    page says why there is no t-SNE. ``audio``: clip → its sound file. ``whole``: ``report.contents`` where it is known;
    ``finals_root``: where students of all folds lie. Nothing is written before all is drawn but the
    pictures. Raises ``InputError`` without matplotlib or a finished run, for a damaged file, and for two runs of one
    cell.
    """
    plots.require_matplotlib()
    records, rows, paper = whole or report.contents(runs_root, corpus, mixes=mixes)
    folder = reports_root / corpus
    gallery = Gallery(folder, plots.Look(synthetic=any(row.synthetic for row in rows)))
    tables = gathering.tables(rows, records)
    explained = results.kept(reports_root, corpus)
    sounds = gathering.Sounds(folder, audio or {})
    measured = kept.found_in(folder)
    students = shipping.shipped(finals_root, corpus, mixes) if finals_root else []
    html = layout.page(paper, tables, gallery, embeddings, sounds, explained, measured, students)
    runs.write_atomic(folder / "index.html", html.encode())
    return folder / "index.html"
