"""Samples → stacked librosa features.

Five features a clip, or those that ``spec.use`` names, in the order of ``pipeline.config.EVERY_FEATURE``: MFCC, mel-spectrogram in
dB, chromagram of the short-time Fourier transform, chromagram of the constant-Q transform, and CENS; by its name alone PCEN. All have ``spec.bins`` rows
and one column per hop. Their definition is librosa's (``describe`` gives the calls in words); there are two ways
to compute them:

- ``pipeline.features.plain``: librosa's public functions one by one;
- ``pipeline.features.fast``: the same numbers to float32 rounding, in a twenty-fifth of the time (all of stage one: a twentieth).

Importing this module is cheap: librosa is imported on first use.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache

import numpy as np
from threadpoolctl import ThreadpoolController

from pipeline.config import (
    LOUDEST,
    FeatureSpec,
    InputError,
)
from pipeline.features import kernels, steps

#: Samples, at the default settings, that go through every kernel.
KERNEL_SAMPLES = 44100

#: Largest sample that is computed: resampling may overshoot what a file may hold.
LARGEST = 10 * LOUDEST

#: Feature → unit of its values.
UNITS = {
    "mfcc": "dB (orthonormal DCT-II of 128 mel bands in dB)",
    "melspectrogram": "dB re 1, at most 80 dB below the clip's peak",
    "chroma_stft": "1 (largest of a frame is 1)",
    "chroma_cqt": "1 (largest of a frame is 1)",
    "chroma_cens": "1 (Euclidean norm of a frame is 1)",
    "pcen": "1 (0 in silence, about 0.5 where a band is steady)",
}


def extract(samples: np.ndarray, spec: FeatureSpec, *, plain: bool = False) -> np.ndarray:
    """The features in use of one clip or of several, each on its own; what is not in use is not computed.

    ``samples``: (n,) or (k, n) float32 in units of full scale, at ``spec.sr``. Returned: (features, bins, frames) or
    (k, features, bins, frames) float32 with frames = 1 + n // hop_length, always finite. ``plain`` takes librosa's
    functions one by one. Clips are never computed together: the floor of the MFCC is relative to the
    peak of what is passed to librosa, and the tuning is one number for all of it.

    Raises ``InputError`` for samples that are not finite, beyond ``LARGEST``, not floating-point or not of that shape, and for
    settings that librosa cannot follow (a constant-Q transform above half the sampling rate).
    """
    samples = np.asarray(samples)
    if samples.ndim not in (1, 2) or samples.shape[-1] == 0 or samples.dtype.kind != "f":
        raise InputError(
            f"samples of shape {samples.shape} and type {samples.dtype}: "
            "expected floating-point (n,) or (clips, n) with n > 0"
        )
    check(spec)
    clips = np.ascontiguousarray(samples.reshape(-1, samples.shape[-1]), dtype=np.float32)
    largest = max(clips.max(initial=0), -clips.min(initial=0))  # both are NaN where any sample is
    if not largest <= LARGEST:
        raise InputError(
            f"samples of up to {largest:g}: expected finite numbers in units of full scale, up to {LARGEST:g}"
        )
    if spec.engine == "torch" and not plain:
        from pipeline.features.graph.engine import batched  # torch: a finished stage does without

        values = batched(clips, spec)
        return values.reshape(*samples.shape[:-1], *values.shape[1:])
    if plain:
        from pipeline.features.plain import stacked  # librosa: a finished stage does without
    else:
        from pipeline.features.fast import stacked  # soxr: a finished stage does without
    out = np.empty((len(clips), len(spec.names), spec.bins, 1 + clips.shape[1] // spec.hop_length), np.float32)
    with one_thread():
        for values, clip in zip(out, clips):
            values[...] = stacked(clip, spec)
    return out.reshape(*samples.shape[:-1], *out.shape[1:])


@lru_cache(maxsize=1)
def blas() -> ThreadpoolController:
    """numpy's library of products; to look for it takes as long as a clip."""
    return ThreadpoolController().select(user_api="blas")


@contextmanager
def one_thread() -> Iterator[None]:
    """Hold numpy's products to one thread: with more, their last bits change, and these are too small to gain.

    As ``blas().limit(limits=1)``, which asks each library for all about it: in a tenth of the time, of which 64 mel bands are few.
    """
    before = [(library, library.num_threads) for library in blas().lib_controllers]
    try:
        for library, _ in before:
            library.set_num_threads(1)
        yield
    finally:
        for library, threads in before:
            library.set_num_threads(threads)


@lru_cache(maxsize=32)
def check(spec: FeatureSpec) -> None:
    """``InputError`` for settings that librosa's functions refuse or would answer with fewer rows or frames."""
    if spec.n_fft % 2:
        raise InputError(f"features.n_fft = {spec.n_fft}: expected an even number, for example {spec.n_fft + 1}")
    if spec.bins > 128 and "mfcc" in spec.names:
        raise InputError(f"features.bins = {spec.bins}: expected at most 128, the mel bands of the MFCC")
    if spec.engine == "torch" and {"mfcc", "melspectrogram", "chroma_stft", "pcen"} & set(spec.names):
        from pipeline.features.graph.spectrum import check_framing  # torch: a finished stage does without

        check_framing(spec)
    if not {"chroma_cqt", "chroma_cens"} & set(spec.names):
        return
    from pipeline.features.plain import constant_q_cutoff  # librosa: a finished stage does without

    if 2 * constant_q_cutoff(spec) > spec.sr:
        raise InputError(
            f"features.sr = {spec.sr}: expected at least {2 * math.ceil(constant_q_cutoff(spec))}, "
            "twice the highest frequency of seven constant-Q octaves from C1"
        )


def describe(spec: FeatureSpec) -> dict[str, dict[str, str]]:
    """Feature → {"call": the librosa call in words, "unit": of its values}; JSON-able, for readers of files."""
    from pipeline.features.pcen import share
    from pipeline.features.plain import FLOORED, calls  # librosa: a finished stage does without

    def text(name: str, arguments: dict[str, object]) -> str:
        source = "C=C" if spec.floor and name in FLOORED else "y=y"
        call = f"librosa.feature.{name}({source}, {', '.join(f'{k}={v}' for k, v in arguments.items())})"
        if source == "C=C":
            call += f" of C = abs(librosa.cqt(y)), 0 in frames whose sum is below {spec.floor:g} of the clip's largest"
        if spec.floor and name == "chroma_stft":
            call += f", 0 in frames whose windowed samples have less than {spec.floor:g}² of the energy of the clip's largest"
        if name == "pcen":
            mel = f"2**31 * {call.replace('librosa.feature.pcen', 'librosa.feature.melspectrogram')}"
            return f"librosa.pcen(S, sr={spec.sr}, hop_length={spec.hop_length}, b=b, zi=(1 - b) * S[:, :1]) of S = {mel}, b = {share(spec):.6g}"
        return f"librosa.power_to_db({call})" if name == "melspectrogram" else call

    return {name: {"call": text(name, arguments), "unit": UNITS[name]} for name, arguments in calls(spec).items()}


def warm_up(spec: FeatureSpec, *, plain: bool = False, quiet: bool = False) -> None:
    """Compile, load and build all that is built once a process, so that every clip costs the same: ``compile_kernels``,
    the compiled steps (a second), the filters of ``spec``.
    """
    compile_kernels(plain=plain, quiet=quiet)
    if not plain:
        steps.load()
    sound = np.random.default_rng(0).standard_normal(spec.samples).astype(np.float32)
    extract(sound, spec, plain=plain)


def compile_kernels(*, plain: bool = False, quiet: bool = False) -> None:
    """Once on a machine: compile librosa's and this package's kernels, and keep the filters of the default settings.

    Some twenty seconds, behind a lock (``kernels``); nothing where it was done. Who has to wait says so on stderr,
    unless ``quiet``.
    """
    if kernels.compiled(plain):
        return
    import_libraries()
    with kernels.alone(quiet):
        if kernels.compiled(plain):
            return
        # Else only where new settings or tunings are met, see ``definition``.
        importlib.import_module("librosa.core.constantq")
        # Cut off half way: what is behind the cut takes kernels of its own.
        cut = np.random.default_rng(0).standard_normal(KERNEL_SAMPLES).astype(np.float32)
        cut[KERNEL_SAMPLES // 2 :] = 0
        if not plain:
            steps.load()
            importlib.import_module("pipeline.features.fast").keep_filters(FeatureSpec())
        extract(cut, FeatureSpec(), plain=plain)
        kernels.stamp(plain)


def import_libraries() -> None:
    """What takes long to import, but librosa, which compiles meanwhile: nobody has to wait for this."""
    for name in (
        "numba",
        "scipy.fft",
        "scipy.ndimage",
        "scipy.signal",
        "soxr",
    ):
        with suppress(ImportError):
            importlib.import_module(name)


def kernels_note(*, plain: bool = False) -> str:
    """What a first ``warm_up`` would wait for, in a line; empty where all kernels are compiled."""
    if kernels.compiled(plain):
        return ""
    if who := kernels.compiling():
        return kernels.waiting(who)
    return "compiling librosa's kernels: once on this machine, about 20 s"
