"""Teachers of any program as files: what a teacher says of clips, by clip and view, as npz or HDF5.

Arrays (of HDF5: datasets; the small ones may be attributes of the file instead); n clips, C classes::

    clip          (n,) text: names as the corpus has them ("audio-rkd inspect" shows them)
    view          (v,) text, clean and noisy (and changed1 … where ``features.views`` is): an axis behind the clips; or (n,): of
                  each row its own; absent: all are clean
    logits        (n, v, C) or (n, C) float: before a softmax; of a program that gives probabilities log p
    embedding     (n, v, D) or (n, D) float; hidden likewise
    maps/map1 …   (n, v, K, H, W) or (n, K, H, W) float: stages, before their last ReLU
    classes       (C,) text: what the columns of logits are called, in any order
    trained_on    (m,) whole numbers: the folds whose clips the teacher was trained on; empty: none of this corpus
    clip_fold     (n,) whole numbers, optional: each clip's fold as the teacher had it, compared with the corpus'
    channels_last (m,) text, optional: stages that lay so in memory, as our own runs record it: sums keep their last bit
    data          text, optional: JSON, fold → digest of its features, as our own runs record it

An HDF5 file may have the attribute sha256, ``schema.arrays_digest``, as our own have: it is compared when the file is read. An npz
has a CRC-32 of each array by itself.

Logits or embedding must be there. A teacher per held-out fold is a file each, or one file with an axis of teachers in front of
all outputs: ``trained_on`` (F, m) then has a row for each (−1 fills up shorter ones), and ``fold`` (F,), optional, names the
fold that each is for. Of clean views alone the clean clip's outputs teach all views. Nothing is ever unpickled.

``schema`` says what is read, ``reading`` reads, ``choosing`` finds the teacher of a fold, ``fitting`` compares with the corpus,
``writing`` writes. Imports: what lies below; no torch.
"""

from __future__ import annotations

from pipeline.teacher_files.schema import SUFFIXES, TeacherFile, is_teacher_file

__all__ = ["SUFFIXES", "TeacherFile", "is_teacher_file"]
