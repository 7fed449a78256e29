"""Checkpoints → what they say of sounds: any file, any length, one run or several.

``model.pt`` alone is enough: it holds the feature settings, the standardisation (buffers of the network) and the
class names. How a sound is read and cut into windows stands in ``sounds``.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from pipeline import audio, features
from pipeline.config import FeatureSpec, InputError
from pipeline.deploy import sounds
from pipeline.label_sets import sigmoid
from pipeline.models import Network
from pipeline.models.saved import network_of, require_classes, sound_features
from pipeline.processes import second
from pipeline.runs import calibration
from pipeline.runs import refusal as refusals
from pipeline.runs.weights import read_weights

#: Windows of a long sound that are computed in turn, and that a network may hear at once: more gain nothing.
GROUP = 4

#: Of ``heap.keep_small``: less than a worker of stage one keeps, for two processes of a long sound may take 100 MB more than a clip.
HEAP = 1 << 20, 1 << 22

#: Groups of a long sound behind which a second process is forked, which then has what they made ready.
ALONE = 3

#: Windows of a file from which on it is long: the fork takes the time of a dozen, which a minute would not gain.
LONG = 40

#: Of ``one_thread``: how many compute now, and torch's threads before the first of them.
computing, threads_before, counting = [0], [0], threading.Lock()


@dataclass(frozen=True)
class Checkpoint:
    """A ``model.pt``: the network in evaluation mode, and all that is needed to feed it and to read its answer."""

    path: Path
    network: Network
    spec: FeatureSpec
    classes: tuple[str, ...]
    corpus: str
    synthetic: bool
    name: str
    """Model, mix, fold and seed, for people."""
    temperature: float = 1.0
    """What its logits are divided by for probabilities."""
    threshold: float | None = None
    """Below it its largest probability is "none of these"; None where no threshold was set."""
    several: bool = False
    """Whether it was trained on clips with several labels: its outputs are sigmoids, each class by itself."""


@dataclass(frozen=True)
class Prediction:
    """What one or several runs say of a sound, window by window."""

    seconds: float
    """Length of the sound."""
    times: tuple[tuple[float, float], ...]
    """Start and end of each window in seconds; the end no later than the sound's."""
    logits: np.ndarray
    """(runs, windows, classes) float32."""
    temperatures: tuple[float, ...] = ()
    """Of each run; empty: 1."""
    threshold: float | None = None
    """Of a single run that has one."""
    several: bool = False
    """Whether a sound may have several of the classes, or none: probabilities are of each class by itself."""

    def refused(self, probabilities: np.ndarray) -> bool:
        """Whether an answer of probabilities (classes,) is "none of these"."""
        return self.threshold is not None and float(probabilities.max()) < self.threshold

    @property
    def probabilities(self) -> np.ndarray:
        """(windows, classes) float64: the softmax of each run, at its temperature, averaged over the runs; of ``several`` the sigmoids."""
        values = self.logits.astype(np.float64)
        if self.temperatures:
            values /= np.reshape(self.temperatures, (-1, 1, 1))
        if self.several:
            return sigmoid(values).mean(0)
        values = np.exp(values - values.max(-1, keepdims=True))
        return (values / values.sum(-1, keepdims=True)).mean(0)


def checkpoint(path: Path, calibrated: bool = False) -> Checkpoint:
    """The checkpoint in a run folder or file; raises as ``read_weights``. ``calibrated``: with the run's temperature, which
    ``audio-rkd calibrate`` left there; ``InputError`` where it did not."""
    payload = require_classes(read_weights(path), path)
    fitted = calibration.read(path) if calibrated and path.is_dir() else None
    refusal = refusals.read(path if path.is_dir() else path.parent)
    if calibrated and fitted is None:
        raise InputError(
            f"{path}: no {calibration.NAME} there; expected a run that was calibrated: audio-rkd calibrate {path}"
        )
    return Checkpoint(
        path=path,
        network=network_of(payload),
        spec=sound_features(payload, path),
        classes=tuple(payload["classes"]),
        corpus=payload["corpus"],
        synthetic=bool(payload["synthetic"]),
        name=f"{payload['model']} {payload['mix']} fold {payload['fold']} seed {payload['seed']}",
        temperature=fitted.temperature if fitted else 1.0,
        threshold=refusal.threshold if refusal else None,
        several=bool(payload.get("several_labels")),
    )


def ensemble(paths: Sequence[Path], calibrated: bool = False) -> list[Checkpoint]:
    """Checkpoints that can vote together: the same corpus and classes, and the same features of a clean clip."""
    return together([checkpoint(path, calibrated) for path in paths])


def together(members: list[Checkpoint]) -> list[Checkpoint]:
    """The checkpoints; ``InputError`` where they cannot vote together."""
    first = members[0]
    for other in members[1:]:
        if other.classes != first.classes:
            raise InputError(
                f"{other.path} knows other classes (corpus {other.corpus}) than {first.path} (corpus {first.corpus}); "
                "runs that vote together need the same ones"
            )
        if other.corpus != first.corpus:
            raise InputError(
                f"{other.path} was trained on corpus {other.corpus}, {first.path} on {first.corpus}; "
                "runs that vote together need the same one"
            )
        if other.several != first.several:
            raise InputError(
                f"{other.path} and {first.path}: one was trained on clips with several labels, the other on clips of one; runs that "
                "vote together need the same"
            )
        theirs, ours = (dataclasses.asdict(clean(member.spec)) for member in (other, first))
        if theirs != ours:
            differing = ", ".join(f"{k} = {theirs[k]!r}, not {ours[k]!r}" for k in ours if theirs[k] != ours[k])
            raise InputError(
                f"{other.path} was trained on other features than {first.path} ({differing}); "
                "runs that vote together need the same ones"
            )
    return members


def clean(spec: FeatureSpec) -> FeatureSpec:
    """``spec`` without what concerns other views than the clean one only."""
    return dataclasses.replace(spec, noise_std=0.0, noise_seed=0, views=0, backgrounds="", rooms="")


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute in one thread meanwhile: transforms and maps are so small that more only wait for each other. And a fork loses them.

    The number is this thread's, and that with which others of the caller's begin: of those that compute at once each gives back what
    the first one found.
    """
    found = torch.get_num_threads()  # asked in any case: only then this thread has a number of its own
    with counting:
        if not computing[0]:
            threads_before[0] = found
        computing[0] += 1
    torch.set_num_threads(1)
    try:
        yield
    finally:
        with counting:
            computing[0] -= 1
            torch.set_num_threads(threads_before[0])


class LinearByRows(TorchFunctionMode):
    """A linear layer of several rows adds in another order than one of a single row; here each row is a single one."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is F.linear and args[0].ndim == 2:
            return torch.cat([func(row, *args[1:], **(kwargs or {})) for row in args[0].split(1)])
        return func(*args, **(kwargs or {}))


@lru_cache(maxsize=256)  # runs that vote at once: one that is forgotten is tried again for every group of windows
def hears_together(network: Network) -> bool:
    """Whether ``GROUP`` clips at once give a network the bits that they give one by one, in all its outputs.

    Tried with noise, for it lies with the sizes: some convolutions choose another way for a single clip.
    """
    draws = torch.Generator().manual_seed(0)
    noise = network.mean + network.std * torch.randn((GROUP, *network.shape), generator=draws)
    with torch.inference_mode(), LinearByRows():
        together, alone = network(noise), [network(clip) for clip in noise.split(1)]
    return all(torch.equal(value, torch.cat([one[name] for one in alone])) for name, value in together.items())


@torch.inference_mode()
def logits(members: Sequence[Checkpoint], clips: np.ndarray) -> np.ndarray:
    """(runs, clips, classes) float32 of samples (clips, n) float32 at the members' rate and clip length.

    What is said of a clip depends on no other one: where a network ``hears_together`` it gets ``GROUP`` clips at once, for
    half the time, else one by one, with the same bits.
    """
    values = torch.from_numpy(features.extract(clips, members[0].spec))
    return torch.stack([logits_of(member.network, values) for member in members]).numpy()


def logits_of(network: Network, values: torch.Tensor) -> torch.Tensor:
    """(clips, classes) of features (clips, features, bins, frames)."""
    with LinearByRows():
        if len(values) == GROUP and hears_together(network):
            return network(values).logits
        return torch.cat([network(clip).logits for clip in values.split(1)])


def predict(
    members: Sequence[Checkpoint],
    blocks: Iterable[np.ndarray],
    tell: Callable[[int], object] = int,
    two_processes: bool = False,
) -> Prediction:
    """What the members (one, or an ``ensemble``) say of a sound: blocks (n,) of float32 in full scale, at their rate.

    The windows are computed ``GROUP`` by ``GROUP`` (see ``logits``) while the sound is read, so that its length costs no memory.
    ``two_processes``: where there may be (``second``) and the sound is long. ``tell`` is given how many windows more are
    done.
    """
    spec = members[0].spec
    windows, places, heard = sounds.windows(blocks, spec), list[int](), 0

    def groups() -> Iterator[np.ndarray]:
        nonlocal heard
        while group := list(islice(windows, GROUP)):
            starts, parts, lengths = zip(*group)
            places.extend(starts)
            heard = lengths[-1]
            yield np.stack(parts)

    values = {}
    alone = ALONE if two_processes else None
    work = second.shared(partial(logits, members), groups(), (GROUP, spec.samples), alone)
    with one_thread(), closing(work) as answers:
        for number, answer in answers:
            values[number] = answer
            tell(answer.shape[1])
    seconds = heard / spec.sr
    times = tuple((start / spec.sr, min((start + spec.samples) / spec.sr, seconds)) for start in places)
    temperatures = tuple(member.temperature for member in members)
    scaled = any(one != 1 for one in temperatures)
    limit = members[0].threshold if len(members) == 1 and not scaled else None
    whole = np.concatenate([values[number] for number in range(len(values))], axis=1)
    return Prediction(seconds, times, whole, temperatures if scaled else (), limit, members[0].several)


def predict_file(
    members: Sequence[Checkpoint], path: Path, tell: Callable[[int], object] = int, two_processes: bool = False
) -> Prediction:
    """``predict`` of a sound file, in two processes where it is ``LONG``, or has no length in its header; raises ``audio.ClipError`` for
    what stage one refuses."""
    spec = members[0].spec
    two_processes = two_processes and not 1 < sounds.window_count(path, spec) < LONG
    return predict(members, sounds.sound_blocks(path, spec.sr), tell, two_processes)


def predict_stream(
    members: Sequence[Checkpoint], stream: IO[bytes], name: str = "-", two_processes: bool = False
) -> Prediction:
    """``predict_file`` of a whole WAV (or another format with a header) from a pipe, which errors call ``name``."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "standard-input"
        with path.open("wb") as file:
            shutil.copyfileobj(stream, file)
        try:
            return predict_file(members, path, two_processes=two_processes)
        except audio.ClipError as error:
            raise audio.ClipError(name, error.reason, error.expected, error.found) from None
