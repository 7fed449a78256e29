"""``doctor``: is what the project needs there and working? One finding a subject, with the remedy where it is not.

Every check really uses what it is about: torch multiplies, librosa computes a chromagram (and so numba compiles), HDF5
and libsndfile write and read back, folders are written to. Libraries are imported inside the checks, so that one that
is broken is a finding and not the end.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import io
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import InputError
from pipeline.extras import install_line

SETUP = "make setup (or: pip install -e .)"

#: Below this much room, in bytes, a training cannot be counted on to save what it made.
ROOM = 500_000_000

EXTRAS = {
    "plots": "matplotlib",
    "export": "onnxruntime",
    "dask": "distributed",
    "tensorboard": "tensorboard",
    "mic": "sounddevice",
}
FORMATS = ("WAV", "FLAC", "OGG", "MP3")


@dataclass(frozen=True)
class Finding:
    """What was found of one subject; ``remedy`` is "" where all is well."""

    subject: str
    text: str
    remedy: str = ""

    def line(self) -> str:
        mark = "BROKEN  " if self.remedy else "ok      "
        return f"{mark}{self.subject:<12} {self.text}" + (f"\n{'':21}→ {self.remedy}" if self.remedy else "")


def examined(subject: str, check: Callable[[], str], remedy: str) -> Finding:
    """The check's answer; what it raises is the finding of something broken."""
    try:
        return Finding(subject, check())
    except InputError as error:
        return Finding(subject, str(error), remedy)
    except Exception as error:  # whatever a broken library raises
        reason = (str(error).strip().splitlines() or [""])[0]
        return Finding(subject, f"{type(error).__name__}: {reason}", remedy)


def findings(roots: Mapping[str, Path], data: Path, caches: Path, runs: Path, reports: Path,
             own: str = "") -> list[Finding]:  # fmt: skip
    """All findings. ``roots``: data set → the folder where it is looked for; of ``own`` it is one the user named."""
    libraries = [
        examined("Python", python, "use Python 3.11 or newer: make setup PYTHON=python3.11"),
        examined("packages", packages, SETUP),
        examined("torch", torch_build, f"{SETUP}; make setup TORCH=cpu|cuda TORCH_INDEX=ADDRESS chooses the build"),
        examined("librosa", librosa_and_numba, f"{SETUP}; a folder for numba's kernels must be writable: "
                 "NUMBA_CACHE_DIR=folder"),
        examined("HDF5", hdf5, f"{SETUP}; on a network disk: HDF5_USE_FILE_LOCKING=FALSE"),
        examined("soundfile", soundfile_formats, f"{SETUP}; without a wheel's own: apt-get install libsndfile1"),
        Finding("extras", extras()),
    ]  # fmt: skip
    places = [writable(folder) for folder in (data, caches, runs, reports)]
    return [*libraries, disk(Path()), *places, *corpora(roots, own), *cached(caches), *trained(runs)]


# ------------------------------------------------------------------------------------------------- libraries


def python() -> str:
    if sys.version_info < (3, 11):  # noqa: UP036 (run from a folder, no installer has looked)
        raise InputError(f"Python {platform.python_version()}; expected 3.11 or newer")
    return f"{platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores"


def packages() -> str:
    """Every package that the project requires, by its own metadata."""
    try:
        required = importlib.metadata.requires("audio-rkd") or []
    except importlib.metadata.PackageNotFoundError:
        return "audio-rkd itself is not installed (run from its folder)"
    names = [entry.split(";")[0].strip() for entry in required if "extra ==" not in entry]
    bare = [
        name.split(">")[0].split("=")[0].split("<")[0].split("!")[0].split("~")[0].strip() for name in names
    ]
    missing = [name for name in bare if not installed(name)]
    if missing:
        raise InputError(f"not installed: {', '.join(missing)}")
    return f"all {len(bare)} required ones are installed"


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
            "its driver does not answer"
            if torch.version.cuda
            else "make setup TORCH=cuda TORCH_INDEX=ADDRESS uses it"
        )
        return f"{text}; device cpu, though there is an NVIDIA card: {why}"
    return f"{text}; device cpu"


def require_build(kind: str) -> str:
    """A line on the torch that is there; ``InputError`` with the remedy where it is not a build for ``kind``.

    ``kind``: cpu or cuda. The index that has the other build is the user's to name, so the remedy leaves its place free.
    """
    torch: Any = importlib.import_module("torch")
    found = "cuda" if torch.version.cuda else "cpu"
    if found != kind:
        pip = f"{sys.executable} -m pip install --force-reinstall --no-deps --index-url ADDRESS"
        raise InputError(
            f"torch {torch.__version__} is a {found} build, TORCH={kind} was asked for; name the index that has it: "
            f"make setup TORCH={kind} TORCH_INDEX=ADDRESS (it says {pip} torch=={torch.__version__.partition('+')[0]}); "
            'ADDRESS is on PyTorch\'s page "Get started", behind --index-url'
        )
    return f"torch {torch.__version__} is a {found} build, as asked"


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
        with h5py.File(path, "w") as file:
            file.create_dataset("x", data=np.arange(6.0), chunks=True, compression="gzip")
        with h5py.File(path, "r") as file:
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
    said = f"; not {', '.join(bad)}" if bad else ""
    return f"{soundfile.__version__}, libsndfile {version}: {', '.join(n for n in FORMATS if n not in bad)}{said}"


def extras() -> str:
    there = [
        f"{name} ({package} {version})" for name, package in EXTRAS.items() if (version := installed(package))
    ]
    absent = [name for name, package in EXTRAS.items() if not installed(package)]
    more = f"; not installed: {install_line(*absent)}" if absent else ""
    return (", ".join(there) or "none") + more


# ---------------------------------------------------------------------------------------------------- places


def disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    text = f"{free / 1e9:.1f} GB free here"
    if free < ROOM:
        return Finding("disk", text, f"make room: expected {ROOM / 1e9:g} GB at least for caches and runs")
    return Finding("disk", text)


def writable(folder: Path) -> Finding:
    """By writing a file there; in a folder that does not exist yet, in the nearest one that does."""
    there = folder
    while not there.exists():
        there = there.parent

    def check() -> str:
        if not there.is_dir():
            raise InputError(f"{there} is a file; expected a folder")
        with tempfile.NamedTemporaryFile(dir=there, prefix=".try-"):
            pass
        return f"{folder}/ can be written" + ("" if folder.exists() else " (not there yet)")

    found = examined(f"{folder}/", check, f"chmod u+w {there}, or work in a folder that is yours")
    if there.is_dir() or not found.remedy:
        return found
    return Finding(found.subject, found.text, f"move the file {there} out of the way")


def refetching(name: str) -> str:
    """What to do about a data set in data/ that cannot be opened."""
    from pipeline.corpus.fetch.sources import SOURCES

    if name in SOURCES:
        return f"fetch it again: make data DATASET={name}; make verify DATASET={name} says more"
    return f"move the folder out of the way; make verify DATASET={name} says more"


def corpora(roots: Mapping[str, Path], own: str = "") -> list[Finding]:
    """The data sets that are there; one that is there and cannot be opened is broken, and a user's ``own`` must be there."""
    from pipeline.corpus import open_corpus

    found, absent = [], []
    for name, root in roots.items():
        if not root.is_dir() and name == own:
            what = "is a file; expected a folder" if root.exists() else "no such folder"
            found.append(Finding("corpus", f"{name}: {root}: {what}", f"name the folder of {name}: --data FOLDER (make: "
                                 "DATA=FOLDER)"))  # fmt: skip
            continue
        if not root.is_dir():
            absent.append(name)
            continue

        def check(name: str = name, root: Path = root) -> str:
            corpus = open_corpus(name, root)
            stamp = "SYNTHETIC " if corpus.synthetic else ""
            return (f"{stamp}{corpus.name}: {len(corpus.clips)} clips, {len(corpus.classes)} classes, "
                    f"{len(corpus.folds)} folds, in {root}")  # fmt: skip

        of_user = f"expected {name} in its own layout there; make verify DATASET={name} DATA={root} says more"
        found.append(examined("corpus", check, of_user if name == own else refetching(name)))
    if not found:
        found.append(Finding("corpus", f"none of {', '.join(absent)} yet; make demo makes a synthetic one"))
    return found


def cached(caches: Path) -> list[Finding]:
    """The features that are there, by corpus and settings; each file's own header is read."""
    found = []
    for folder in sorted({path.parent for path in caches.glob("*/f*/fold*.h5")}):
        files = sorted(folder.glob("fold*.h5"))

        def check(folder: Path = folder, files: Sequence[Path] = files) -> str:
            from pipeline.cache import read_header

            clips = sum(len(read_header(path).clips) for path in files)
            size = sum(path.stat().st_size for path in files)
            return f"{folder}: {len(files)} folds, {clips} clips, {size / 1e6:.0f} MB"

        found.append(examined("cache", check, "remove the file that is named, and make features again"))
    return found or [Finding("cache", f"no features in {caches}/ yet; make features computes them")]


def trained(root: Path) -> list[Finding]:
    """The runs that are there, by corpus; every finished one's record is read."""
    found = []
    for folder in sorted(path for path in root.glob("*") if path.is_dir() and not path.name.startswith(".")):

        def check(folder: Path = folder) -> str:
            from pipeline import runs

            records, open_ones = runs.find(root, folder.name), runs.unfinished(root, folder.name)
            failed = sum(record.result["status"] in ("did not train", "failed") for record in records)
            return (f"{folder}: {len(records)} finished" + (f", {failed} of them did not train" if failed else "")
                    + (f"; {len(open_ones)} unfinished (the same command goes on)" if open_ones else ""))  # fmt: skip

        found.append(examined("runs", check, "move the folder that is named out of the way, and run again"))
    return found or [Finding("runs", f"none in {root}/ yet; make teacher trains the first ones")]
