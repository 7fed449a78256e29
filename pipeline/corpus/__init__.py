"""Which clips there are, with their labels, folds, recordings and lengths. Nothing is decoded here.

A data set is one function ``folder -> Corpus`` in ``READERS``; a new one is one function and one entry there.

- ``urbansound8k``: UrbanSound8K. J. Salamon, C. Jacoby, J. P. Bello, "A Dataset and Taxonomy for Urban Sound
  Research", ACM Multimedia 2014. CC BY-NC 3.0. ``metadata/UrbanSound8K.csv`` and ``audio/fold1/`` ... ``audio/fold10/``,
  or both at the top of the folder. Clips of up to 4 s.
- ``esc50``, ``esc10``: ESC-50. K. J. Piczak, "ESC: Dataset for Environmental Sound Classification", ACM Multimedia
  2015. CC BY-NC 3.0; the clips of ESC-10 CC BY 3.0. ``meta/esc50.csv`` and ``audio/``. Clips of 5 s, five folds.
- ``synthetic``: what ``pipeline.synthetic`` writes: UrbanSound8K's layout, with a marker file.
- ``folder``: ``CLASS/CLIP.wav`` of your own; see ``folder``.

Part of a data set is a corpus too: a fold that is absent as a whole is left out, and rows may be removed from the
CSV. A listed file that is missing beside others of its fold is an error, since it was lost and not left out.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipeline.config import InputError
from pipeline.corpus.clips import MARKER, Clip, Corpus
from pipeline.corpus.folders import folder
from pipeline.corpus.published import URBANSOUND8K, esc10, esc50, synthetic, urbansound8k

__all__ = ["DATASETS", "MARKER", "READERS", "URBANSOUND8K", "Clip", "Corpus", "open_corpus"]

#: Name of a data set → its reader.
READERS: dict[str, Callable[[Path], Corpus]] = {
    "synthetic": synthetic, "urbansound8k": urbansound8k, "esc50": esc50, "esc10": esc10, "folder": folder,
}  # fmt: skip
DATASETS = tuple(READERS)


def open_corpus(dataset: str, root: Path) -> Corpus:
    """The corpus of kind ``dataset`` (one of ``DATASETS``) in the folder ``root``.

    Raises ``InputError``, one line, for a folder, table, column, row or listed file that is missing or wrong.
    """
    root = Path(root)
    if dataset not in READERS:
        raise InputError(f"unknown data set {dataset!r}; expected one of {', '.join(DATASETS)}")
    if not root.is_dir():
        raise InputError(f"no folder {root}; expected the data set {dataset} there. "
                         "Fetch it (make data) or name its folder (--data FOLDER, make: DATA=FOLDER)")  # fmt: skip
    return READERS[dataset](root)
