"""One clip of a fold's file as a picture: its features, clean, noisy and changed."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import cache
from pipeline.audio.changing import change
from pipeline.cache import checking
from pipeline.config import FeatureSpec, InputError
from pipeline.extras import install_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def clip_picture(path: Path, clip: str, target: Path) -> Path:
    """Draw a clip's features, view by view, as a picture of the kind that the suffix says.

    ``InputError`` for a clip that is not in the file, and for a target that cannot be written.
    """
    header = cache.read_header(path)
    if clip not in header.clips:
        near = difflib.get_close_matches(clip, header.clips, 1, 0)
        skipped = " (it was skipped)" if clip in {s.clip for s in header.skipped} else ""
        raise InputError(f"{path} has no clip {clip!r}{skipped}" + (f"; nearest: {near[0]}" if near else ""))
    with cache.opened(path) as file:
        index = header.clips.index(clip)
        features = file["features"][index]
        times = file["frame"][()]
    checking.require(path, header, features[np.newaxis], index)
    drawn = clip_figure(header, index, features, times)
    kinds = drawn.canvas.get_supported_filetypes()
    if target.suffix[1:].lower() not in kinds:
        raise InputError(f"{target}: expected a name that ends in .png, .svg, .pdf or another of {', '.join(kinds)}")
    if target.is_dir():
        raise InputError(f"{target} is a folder; expected a file, for example {target / 'clip.png'}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        drawn.savefig(target, dpi=110)
    except OSError as error:
        raise InputError(
            f"{target}: {error.strerror or error}; expected a file that can be written: --output FILE"
        ) from None
    return target


def clip_figure(header: cache.Header, index: int, features: np.ndarray, times: np.ndarray) -> Figure:
    """Rows: features, each with one colour scale for its views; columns: clean, noisy and changed, the first ``COLUMNS``."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError(
            f"pictures need matplotlib, which is not installed; install it: {install_line('plots')}"
        ) from None
    names, shown = header.spec.names, header.spec.view_names[:COLUMNS]
    figure = Figure(figsize=(6 * len(shown), 0.5 + 2.5 * len(names)), layout="constrained")
    panels = figure.subplots(len(names), len(shown), sharex=True, sharey="row", squeeze=False)
    for row, name in enumerate(names):
        low, high = colour_range(name, features[:, row])
        for column, view in enumerate(shown):
            image = panel(panels[row][column], features[column, row], times, name, low, high)
            if row == 0:
                title = f"{view}{difference(header.clips[index], column, header.spec)}\n{name}"
                panels[row][column].set_title(title, fontsize=11)
            else:
                panels[row][column].set_title(name, fontsize=11)
            if row == len(names) - 1:
                panels[row][column].set_xlabel("time / s")
        panels[row][0].set_ylabel(ROW_NAMES[name])
        edges = "both" if name == "mfcc" else "neither"
        figure.colorbar(image, ax=list(panels[row]), label=short_unit(header.units[row]), pad=0.01, extend=edges)
    length = header.files[index].seconds
    annotated = f", annotated {length:.2f} s" if length else ""
    figure.suptitle(
        f"{header.clips[index]}: {header.label_names[index]}, fold {header.fold} of "
        f"{header.corpus}{' (SYNTHETIC)' if header.synthetic else ''}{annotated}",
        fontsize=13,
    )
    return figure


def difference(clip: str, view: int, spec: FeatureSpec) -> str:
    """How a view of a clip differs from the clean one, in brackets."""
    if view == 0:
        return ""
    if view == 1:
        return f" (noise σ = {spec.noise_std:g} of full scale)"
    how = change(clip, view - 1, spec)
    behind = f", {how.background.name} at {how.snr:.0f} dB" if how.background else ""
    room = f", in {how.room.name}" if how.room else ""
    return f" (speed × {how.speed:.2f}, {how.gain:+.1f} dB, noise σ = {how.noise:.2g}{behind}{room})"


#: Views that a picture shows at most.
COLUMNS = 8

ROW_NAMES = {
    "mfcc": "coefficient",
    "melspectrogram": "mel band",
    "chroma_stft": "pitch class",
    "chroma_cqt": "pitch class",
    "chroma_cens": "pitch class",
    "pcen": "mel band",
}


def colour_range(name: str, values: np.ndarray) -> tuple[float, float]:
    """Chroma from 0; MFCC about 0 and without its first coefficient, the loudness, which would hide the others."""
    if name == "mfcc":
        rest = values[:, 1:] if values.shape[1] > 1 else values
        most = float(np.abs(rest).max()) or 1.0
        return -most, most
    low = 0.0 if name.startswith("chroma") else float(values.min())
    return low, max(float(values.max()), low + 1e-6)


def panel(axes: Axes, values: np.ndarray, times: np.ndarray, name: str, low: float, high: float) -> Any:
    from matplotlib.ticker import MaxNLocator

    step = times[1] - times[0] if len(times) > 1 else 1.0
    extent = (times[0] - step / 2, times[-1] + step / 2, -0.5, len(values) - 0.5)
    colours = "RdBu_r" if name == "mfcc" else "magma"
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    return axes.imshow(
        values, origin="lower", aspect="auto", interpolation="nearest", extent=extent, cmap=colours, vmin=low, vmax=high
    )


def short_unit(unit: str) -> str:
    """The unit itself, without the words behind it."""
    word = unit.split(" (")[0].split(",")[0]
    return "relative" if word == "1" else word
