"""``model.pt``: a network read back from a file, and the digest of its weights. Compared with its run: ``runs.weights``."""

from __future__ import annotations

import hashlib
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline import config, label_sets, models
from pipeline.config import FeatureSpec, InputError
from pipeline.files import damaged_part
from pipeline.models import Network

FORMAT = 1

KEYS = (
    "format",
    "role",
    "model",
    "fold",
    "seed",
    "mix",
    "shape",
    "classes",
    "features",
    "corpus",
    "dataset",
    "synthetic",
    "state",
    "best_state",
)


def model_file(path: Path) -> Path | None:
    """``model.pt`` of a run folder, or the file itself; None where ``path`` is neither."""
    if path.is_dir():
        return path / "model.pt" if (path / "model.pt").is_file() else None
    return path if path.suffix == ".pt" and path.is_file() else None


def read_payload(path: Path) -> dict[str, Any]:
    """What a ``model.pt`` (or the one in a run folder) holds; loaded without running any code from it.

    Raises ``InputError`` where there is none, where it is damaged or foreign, and for a run that failed. Whether it is the one
    that the run's record names: ``runs.weights``.
    """
    file = model_file(path)
    if file is None:
        reason = "no such file or folder" if not path.exists() else "no run: it has no model.pt"
        raise InputError(
            f"{path}: {reason}; expected a run folder such as runs/CORPUS/student-…/MIX/fold1-seed0, or its model.pt"
        )
    try:
        if part := damaged_part(file):  # torch itself looks at no checksum
            raise ValueError(f"damaged: {part} has another checksum")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of foreign pickles, which are refused below in our own words
            payload = torch.load(file, map_location="cpu", weights_only=True)
    except (
        OSError,
        RuntimeError,
        EOFError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        AssertionError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
    ) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{file}: cannot be read ({reason[:120]}); expected a model.pt of this project: "
            "copy it again, or train the run again"
        ) from None
    lacking = [key for key in KEYS if key not in payload] if isinstance(payload, dict) else list(KEYS)
    if lacking or payload["format"] != FORMAT:
        reason = f"no {', '.join(lacking)}" if lacking else f"format {payload['format']!r}"
        raise InputError(f"{file}: {reason}; expected a model.pt of this project in format {FORMAT}")
    if payload.get("several_labels"):
        label_sets.require(file)
    if not payload["state"]:
        raise InputError(f"{file}: this run failed and has no weights; choose another (its result.json says why)")
    return payload


def sound_features(payload: Mapping[str, Any], path: Path) -> FeatureSpec:
    """The settings of the features that a network reads; ``InputError`` for one of images. ``path`` is named in errors."""
    features = payload["features"]
    if isinstance(features, Mapping) and "images" in features:
        raise InputError(
            f"{path}: trained on images ({payload['corpus']}, {features['images']}), not on sounds; "
            "expected a run on a corpus of sounds"
        )
    if isinstance(features, Mapping) and "arrays" in features:
        raise InputError(
            f"{path}: trained on arrays ({features['arrays']}), not on sounds; expected a model of LibROSA's features"
        )
    return config.build(FeatureSpec, features, f"{path} [features]")


def require_classes(payload: dict[str, Any], path: Path) -> dict[str, Any]:
    """``payload``; ``InputError`` for a network with an embedding in place of the classes."""
    if models.width_of(payload["model"]):
        raise InputError(
            f"{path}: a {payload['model']}, which has an embedding in place of the classes and names none; expected a run that does: "
            "audio-rkd few-shot and retrieval measure this one"
        )
    return payload


def network_of(payload: dict[str, Any], epoch: str = "last") -> Network:
    """The network of a payload in evaluation mode, with the weights of the last, the best or a kept epoch.

    Raises ``InputError`` for an epoch that was not kept.
    """
    state = state_of(payload, epoch)
    network = models.network(payload["model"], tuple(payload["shape"]), len(payload["classes"]))
    try:
        load_state(network, state)
    except (RuntimeError, KeyError):  # names or shapes of tensors
        raise InputError(
            f"the checkpoint of fold {payload['fold']}, seed {payload['seed']} holds weights that are not "
            f"those of its {payload['model']}; it was changed since: train the run again"
        ) from None
    return network.eval()


def state_of(payload: dict[str, Any], epoch: str) -> Mapping[str, Tensor]:
    """The weights of an epoch."""
    kept = {"last": payload["state"], "best": payload["best_state"], **payload.get("kept", {})}
    if epoch not in kept:
        raise InputError(
            f"the run of fold {payload['fold']}, seed {payload['seed']} kept no weights of epoch {epoch}; expected one of "
            f"{', '.join(kept)}, or a teacher that is trained with keep = '{epoch}'"
        )
    state: Mapping[str, Tensor] = kept[epoch]
    return state


def load_state(network: Network, state: Mapping[str, Tensor]) -> None:
    """Give a network the tensors of a ``model.pt``, each with a runs axis of one in front."""
    tensors = {"mean": network.mean, "std": network.std, **network.body.state_dict()}
    if tensors.keys() != state.keys():
        raise KeyError(f"tensors {' '.join(sorted(tensors.keys() ^ state.keys()))}")
    with torch.no_grad():
        for name, tensor in tensors.items():
            if state[name].shape != (1, *tensor.shape):
                raise RuntimeError(f"{name}: shape {tuple(state[name].shape)}; expected {(1, *tensor.shape)}")
            tensor.copy_(state[name][0])


def weights_digest(payload: Mapping[str, Any]) -> str:
    """SHA-256 of the tensors in a ``model.pt``, of the last, the best and every kept epoch: the same weights, the same digest.

    (Not of the file, whose bytes also depend on which equal texts in it were one object.)
    """
    content = hashlib.sha256()
    parts = {**{part: payload[part] for part in ("state", "best_state")}, **payload.get("kept", {})}
    for part, state in parts.items():
        for name, tensor in sorted(state.items()):
            content.update(f"{part}/{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            content.update(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return content.hexdigest()
