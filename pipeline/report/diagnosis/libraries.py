"""Python and the libraries: each check really uses what it is about."""

from __future__ import annotations

import importlib
import importlib.metadata
import io
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from pipeline.config import InputError
from pipeline.extras import install_line
from pipeline.plurals import many
from pipeline.processes import cores

EXTRAS = {
    "plots": "matplotlib",
    "export": "onnxruntime",
    "media": "av",
    "dask": "distributed",
    "tensorboard": "tensorboard",
    "mic": "sounddevice",
}
FORMATS = ("WAV", "FLAC", "OGG", "MP3")


def python() -> str:
    if sys.version_info < (3, 11):  # noqa: UP036 (run from a folder, no installer has looked)
        raise InputError(f"Python {platform.python_version()}; expected 3.11 or newer")
    there, usable = os.cpu_count() or 1, cores.usable()
    held = f", {usable} of them for this process" if usable < there else ""
    return f"{platform.python_version()} on {platform.system()} {platform.machine()}, {many(there, 'core')}{held}"


def packages() -> str:
    """Every package that the project requires, by its own metadata."""
    try:
        required = [Requirement(text) for text in importlib.metadata.requires("audio-rkd") or []]
    except importlib.metadata.PackageNotFoundError:
        return "audio-rkd itself is not installed (run from its folder)"
    required = [package for package in required if not package.marker or package.marker.evaluate({"extra": ""})]
    there = {package.name: installed(package.name) for package in required}
    if missing := [name for name, version in there.items() if version is None]:
        raise InputError(f"not installed: {', '.join(missing)}")
    if other := [
        f"{package.name} {there[package.name]}, expected {package.specifier}"
        for package in required
        if not package.specifier.contains(str(there[package.name]), prereleases=True)
    ]:
        raise InputError("; ".join(other))
    return f"all {len(required)} required ones are installed, in versions that will do"


def installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def torch_build() -> str:
    torch: Any = importlib.import_module("torch")
    if float((torch.ones(2, 3) @ torch.ones(3, 2)).sum()) != 12:
        raise InputError(f"torch {torch.__version__} multiplies wrongly")
    build = f"CUDA {torch.version.cuda} build" if torch.version.cuda else "CPU build"
    text = f"{torch.__version__}, {build}, {torch.get_num_threads()} CPU threads"
    if torch.cuda.is_available():
        torch.ones(2, device="cuda").sum().item()
        cards = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return f"{text}; device cuda: {', '.join(cards)}"
    if Path("/dev/nvidia0").exists():
        why = (
            "its driver does not answer" if torch.version.cuda else "make setup TORCH=cuda TORCH_INDEX=ADDRESS uses it"
        )
        return f"{text}; device cpu, though there is an NVIDIA card: {why}"
    return f"{text}; device cpu"


def require_build(kind: str) -> str:
    """A line on the torch that is there; ``InputError`` with the remedy where it is not a build for ``kind``.

    ``kind``: cpu or cuda. The index that has the other build is the user's to name, so the remedy leaves its place free.
    """
    torch: Any = importlib.import_module("torch")
    build = "cuda" if torch.version.cuda else "cpu"
    if build != kind:
        pip = f"{sys.executable} -m pip install --force-reinstall --no-deps --index-url ADDRESS"
        raise InputError(
            f"torch {torch.__version__} is a {build} build, TORCH={kind} was asked for; name the index that has it: "
            f"make setup TORCH={kind} TORCH_INDEX=ADDRESS (it says {pip} torch=={torch.__version__.partition('+')[0]}); "
            'ADDRESS is on PyTorch\'s page "Get started", behind --index-url'
        )
    return f"torch {torch.__version__} is a {build} build, as asked"


def librosa_and_numba() -> str:
    """A chromagram and one of the project's own features: both go through numba's kernels."""
    np: Any = importlib.import_module("numpy")
    librosa: Any = importlib.import_module("librosa")
    numba: Any = importlib.import_module("numba")
    compiled = numba.njit(lambda x: x + 1)(41)
    tone = np.sin(np.arange(4096) * 0.2).astype(np.float32)
    if compiled != 42 or not np.isfinite(librosa.feature.mfcc(y=tone, sr=22050, n_mels=20, n_mfcc=8)).all():
        raise InputError(f"librosa {librosa.__version__}, numba {numba.__version__} compute wrongly")
    return f"{librosa.__version__}; numba {numba.__version__} compiles"


def hdf5() -> str:
    np: Any = importlib.import_module("numpy")
    h5py: Any = importlib.import_module("h5py")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "try.h5"
        # Without locks: whether there are any is a finding of its own.
        with h5py.File(path, "w", locking=False) as file:
            file.create_dataset("x", data=np.arange(6.0), chunks=True, compression="gzip")
        with h5py.File(path, "r", locking=False) as file:
            if file["x"][()].tolist() != list(range(6)):
                raise InputError("does not read back what it wrote")
    return f"{h5py.version.hdf5_version}, h5py {h5py.__version__}, reads what it wrote"


def soundfile_formats() -> str:
    """Every format written to memory and read back."""
    np: Any = importlib.import_module("numpy")
    soundfile: Any = importlib.import_module("soundfile")
    tone, bad = 0.3 * np.sin(np.arange(22050) * 0.1), []
    for name in FORMATS:
        try:
            buffer = io.BytesIO()
            soundfile.write(buffer, tone, 22050, format=name)
            buffer.seek(0)
            read, rate = soundfile.read(buffer)
            if rate != 22050 or not len(read):
                bad.append(name)
        except Exception:
            bad.append(name)
    version = soundfile.__libsndfile_version__
    if "WAV" in bad or "FLAC" in bad:
        raise InputError(f"libsndfile {version} cannot handle {', '.join(bad)}")
    without = f"; not {', '.join(bad)}" if bad else ""
    return f"{soundfile.__version__}, libsndfile {version}: {', '.join(n for n in FORMATS if n not in bad)}{without}"


def extras() -> str:
    there = [f"{name} ({package} {version})" for name, package in EXTRAS.items() if (version := installed(package))]
    absent = [name for name, package in EXTRAS.items() if not installed(package)]
    more = f"; not installed: {install_line(*absent)}" if absent else ""
    return (", ".join(there) or "none") + more
