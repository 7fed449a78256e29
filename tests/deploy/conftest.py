"""What several tests of files for devices share: a few clips, of which a foreign model is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pipeline.corpus import Corpus
    from pipeline.teacher_files.fitting import Clips


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Two folds in UrbanSound8K's layout, of two clips a class."""
    from pipeline.corpus import open_corpus
    from tests.tiny import write_corpus

    return open_corpus("urbansound8k", write_corpus(tmp_path_factory.mktemp("onnx") / "toy", folds=(1, 2), clips=2))


@pytest.fixture
def clips(corpus: Corpus) -> Clips:
    """Its clips as teacher files are asked for them, two views each."""
    import numpy as np

    from pipeline.teacher_files.fitting import Clips

    names, folds = tuple(clip.name for clip in corpus.clips), np.array([clip.fold for clip in corpus.clips])
    return Clips(names, folds, 2, corpus.classes, {1: "x", 2: "y"}, corpus.all_folds)
