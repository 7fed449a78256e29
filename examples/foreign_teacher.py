"""How any program makes a teacher file (docs/teachers.md), without this project's code.

    python examples/foreign_teacher.py svc cache/CORPUS/f20-… teachers.npz          # no network at all: an SVC on mean features
    python examples/foreign_teacher.py onnx model.onnx 32000 SOUNDS teacher.npz     # a network on samples, seen none of them

The first gives a teacher per held-out fold, trained on the others. Then: audio-rkd distill --teacher teachers.npz --losses hinton
"""

import sys
from pathlib import Path

import h5py
import numpy as np


def svc(folder: Path, target: Path) -> None:
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    files = [h5py.File(path, "r") for path in sorted(folder.glob("fold*.h5"))]
    folds = np.concatenate([np.full(len(file["label"]), file.attrs["fold"]) for file in files])
    clips = np.concatenate([file["clip"].asstr()[()] for file in files]).astype(str)
    labels = np.concatenate([file["label"][()] for file in files])
    x = np.concatenate([file["features"][()].mean(-1) for file in files])  # (clip, view, feature, bin)
    x = x.reshape(*x.shape[:2], -1)
    held_out = np.unique(folds)
    logits = np.full((len(held_out), *x.shape[:2], len(files[0].attrs["classes"])), np.log(1e-12))
    for teacher, fold in enumerate(held_out):
        train = folds != fold
        model = make_pipeline(StandardScaler(), CalibratedClassifierCV(SVC(), ensemble=False, cv=3))
        model.fit(x[train].reshape(-1, x.shape[-1]), np.repeat(labels[train], x.shape[1]))
        p = model.predict_proba(x.reshape(-1, x.shape[-1])).reshape(*x.shape[:2], -1)
        logits[teacher][..., model.classes_] = np.log(np.maximum(p, 1e-12))  # probabilities as logits: log p
    seen = np.array([held_out[held_out != fold] for fold in held_out])
    views, classes = files[0]["view"].asstr()[()].astype(str), np.array(files[0].attrs["classes"], str)
    about = {"clip": clips, "view": views, "classes": classes}
    np.savez(target, logits=logits, trained_on=seen, fold=held_out, clip_fold=folds, **about)


def onnx(model: Path, rate: int, sounds: Path, target: Path) -> None:
    import librosa
    import onnxruntime

    session = onnxruntime.InferenceSession(model)
    paths = sorted(sounds.rglob("*.wav"))
    x = [librosa.load(path, sr=rate)[0][None] for path in paths]  # (1, samples)
    embedding = [session.run(None, {session.get_inputs()[0].name: one})[0][0] for one in x]
    clips = [path.name for path in paths]  # DATASET=folder: path.relative_to(sounds).as_posix(); clean views
    np.savez(target, clip=clips, embedding=np.array(embedding, np.float32), trained_on=np.array([], int))


if __name__ == "__main__":
    if sys.argv[1] == "svc":
        svc(*map(Path, sys.argv[2:]))
    else:
        onnx(Path(sys.argv[2]), int(sys.argv[3]), *map(Path, sys.argv[4:]))
