"""The weights of a run, compared with what its record names, whoever reads them."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline import files
from pipeline.errors import Damaged, InputError
from pipeline.runs import folder as run_files
from pipeline.runs import seal

#: What to do about weights that are not those of their run.
REMEDY = (
    "copy the run's folder again from where it is whole, or train it again, to the same bits: the command that trained it does "
    "(make teacher, make distill)"
)


def read_weights(path: Path) -> dict[str, Any]:
    """What the ``model.pt`` of a run folder, or a file of weights, holds (``models.saved.read_payload``).

    Raises ``InputError`` as that, and where weights that lie in a run's folder are not those that its ``result.json`` names. A
    ``model.pt`` alone has only its own checksums.
    """
    from pipeline.models import saved  # torch: who only asks about files does without

    file = saved.model_file(path)
    if file is not None and (reason := mismatch(file)):
        raise Damaged(f"{file}: {reason}; {REMEDY}")
    payload = saved.read_payload(path)
    if file is None or file.name != "model.pt" or not run_files.finished(file.parent):
        return payload
    recorded = run_files.read_result(file.parent).get("weights")
    if reason := other_run(payload, file.parent):
        raise Damaged(f"{file}: {reason}; {REMEDY}")
    if recorded and (digest := saved.weights_digest(payload)) != recorded:
        reason = f"not the weights that result.json names (SHA-256 {digest[:12]}, expected {recorded[:12]})"
        raise Damaged(f"{file}: {reason}; {REMEDY}")
    return payload


def other_run(payload: Mapping[str, Any], folder: Path) -> str:
    """In what weights are of another run than ``config.json`` beside them, in words; also of runs without an identity."""
    if not (folder / "config.json").is_file():
        return ""
    config = run_files.read_config(folder)
    keys = ("corpus", "model", "mix", "fold", "seed")
    theirs, ours = (" ".join(f"{key} {values[key]}" for key in keys) for values in (payload, config))
    return "" if theirs == ours else f"of another run ({theirs}) than its config.json ({ours})"


def mismatch(file: Path) -> str:
    """In what a file of weights is not the one that the run's ``result.json`` names, in words; "" where it is, or nothing is
    known. By its bytes, without torch.

    ``InputError`` where ``result.json`` is damaged.
    """
    folder = run_of(file)
    if folder is None:
        return ""
    run_files.read_result(folder)
    sealed = seal.seal_of(folder)
    if not sealed or str(file.relative_to(folder)) not in sealed[seal.FILES]:
        return ""
    reason = seal.difference(file, folder, files.sha256(file), None)
    if not reason:
        return ""
    identity = identity_of(file)
    other = "" if identity is None else seal.difference(file, folder, "", identity)
    return other if "another run" in other else reason.replace("the model.pt", "the weights")


def run_of(file: Path) -> Path | None:
    """The finished run that a file of weights lies in: its folder, or the one above."""
    return next((folder for folder in list(file.parents)[:2] if run_files.finished(folder)), None)


def identity_of(file: Path) -> str | None:
    """The identity that a file of weights carries; None where it cannot be read."""
    from pipeline.models import saved  # torch: only where something is wrong

    with suppress(InputError, OSError, zipfile.BadZipFile):
        return str(saved.read_payload(file).get(seal.IDENTITY, ""))
    return None


def damaged_files(folder: Path) -> str:
    """The first of a finished run's files of numbers that is not what its ``result.json`` names, and how; "" where all are.

    Without torch, so that a finished stage answers at once. ``InputError`` where configuration or result are damaged.
    """
    for file in files_of(folder):
        if not file.is_file():
            return f"{file.name} is gone"
        if reason := mismatch(file) or broken(file):
            return f"{file.name} is {reason}"
    try:
        run_files.read_rows(folder)
    except InputError as error:
        return str(error).partition("; ")[0].removeprefix(f"{folder}/")
    return ""


def files_of(folder: Path) -> list[Path]:
    """The files of weights that a finished run has to have: a user's own beside them are left alone.

    ``InputError`` where ``result.json`` is damaged.
    """
    run_files.read_result(folder)
    named = [name for name in seal.seal_of(folder).get(seal.FILES, ()) if name.endswith(".pt")]
    return [folder / name for name in sorted({"model.pt", *named})]


def broken(file: Path) -> str:
    """Of weights that nothing names: by their own checksums."""
    try:
        part = files.damaged_part(file)
    except Exception as error:  # a flipped bit may raise anything
        return f"damaged ({error})"
    return f"damaged ({part} has another checksum)" if part else ""
