"""What networks listen to: a clip's mel plane, its sound outlined, and the blocks that each network cannot do without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.figures.explained.concepts import THRESHOLD
from pipeline.figures.explained.foreground import BLOCK
from pipeline.report.plots.picture import (
    LIGHT,
    STAMP,
    WIDTH,
    Drawing,
    Look,
    Picture,
    colour,
    figure_with_axes,
    legend_below,
    marker,
    words,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: In the sound, in the background.
SOUND, BEHIND = 1, 0

#: Nats below the background's mean from which a block is drawn at its fullest.
FULL = 1.0

#: dB below a clip's loudest cell where its picture is darkest.
DARK = 60.0


def listening(name: str, drawn: Mapping[str, Any], look: Look) -> Picture:
    """``drawn``: as ``report.explaining.results.drawing`` makes it: clips, mel planes, foreground, and each network's H̄ − H."""
    caption = (
        f"Clips of held-out fold {drawn['fold']}. Top: the mel plane, loud is light; the line runs around what we call the sound (10 dB above "
        "the noise floor of its band). Below, over the same clip in grey: the blocks that a network needs more exactly than the background on "
        "average, stronger where it needs them more; orange in the sound, blue outside it. Of each clip their numbers."
    )
    return Picture(name, "What the networks listen to", caption, draw_listening, (drawn, look), wide=True)


def draw_listening(drawn: Mapping[str, Any], look: Look) -> Drawing:
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    clips, networks = drawn["clips"], drawn["networks"]
    rows, columns = 1 + len(networks), len(clips)
    figure = Figure(
        figsize=(max(WIDTH, 2.9 * columns), 0.7 + 1.55 * rows), layout="constrained", facecolor=LIGHT["paper"]
    )
    panels = figure.subplots(rows, columns, sharex="col", sharey=True, squeeze=False)
    if look.synthetic:
        figure.suptitle(f"{STAMP}: made-up sounds", fontsize=9, fontweight="bold", color=LIGHT["warn"])
    lines: list[tuple[object, ...]] = []
    for column, clip in enumerate(clips):
        mel, sound = np.array(drawn["mel"][column]), np.array(drawn["foreground"][column], dtype=bool)
        seconds = drawn["frame_seconds"] * mel.shape[1]
        for row in range(rows):
            axes = panels[row][column]
            dressed(axes, row == rows - 1, column == 0)
            plane(axes, mel, seconds, "magma" if row == 0 else "Greys_r", 1.0 if row == 0 else 0.45)
            outline(axes, sound, seconds, mel.shape[1], "#ffffff" if row == 0 else LIGHT["ink"])
            if row == 0:
                title = f"{words(clip['class'])}\n{words(clip['name'])}"
                axes.set_title(title, fontsize=8.5, color=LIGHT["ink"])
                continue
            network = networks[row - 1]
            depth = np.array(network["depth"][column])
            inside, outside = overlay(axes, depth, sound, seconds, mel.shape[1])
            axes.set_title(f"{inside} in the sound, {outside} outside", fontsize=8, color=LIGHT["ink"], loc="left")
            lines += block_lines(network["row"], clip["name"], depth, sound)
            if column == 0:
                axes.set_ylabel(f"{wrapped(network['row'])}\nmel band", fontsize=7.5, color=LIGHT["ink"])
    legend = [
        Patch(facecolor=colour(SOUND), label="needed, in the sound"),
        Patch(facecolor=colour(BEHIND), label="needed, in the background"),
        Patch(facecolor=LIGHT["paper"], edgecolor=LIGHT["ink"], label="outlined: what we call the sound"),
    ]
    beside = 3 if columns > 2 else 1  # a picture of fewer clips is too narrow
    figure.legend(
        handles=legend, loc="outside lower center", ncols=beside, fontsize=8, frameon=False, labelcolor=LIGHT["ink"]
    )
    header = ("network", "clip", "band", "block", "nats_below_background", "foreground", "concept")
    return Drawing(figure, header, lines)


def dressed(axes: Axes, lowest: bool, first: bool) -> None:
    """A panel's axes in the page's colours."""
    from matplotlib.ticker import MaxNLocator

    axes.tick_params(labelsize=7.5, color=LIGHT["muted"], labelcolor=LIGHT["ink"])
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
    if lowest:
        axes.set_xlabel("time / s", fontsize=8, color=LIGHT["ink"])
    if first:
        axes.set_ylabel("mel band", fontsize=7.5, color=LIGHT["ink"])
    for spine in axes.spines.values():
        spine.set_color(LIGHT["muted"])


def plane(axes: Axes, mel: np.ndarray, seconds: float, colours: str, alpha: float) -> None:
    extent = (0, seconds, -0.5, len(mel) - 0.5)
    axes.imshow(
        mel,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        extent=extent,
        cmap=colours,
        alpha=alpha,
        vmin=mel.max() - DARK,
        vmax=mel.max(),
    )


def overlay(axes: Axes, depth: np.ndarray, sound: np.ndarray, seconds: float, frames: int) -> tuple[int, int]:
    """Draw the concepts over a clip; how many lie in the sound, how many outside."""
    from matplotlib.colors import to_rgb

    concepts = depth > THRESHOLD
    image = np.zeros((*depth.shape, 4))
    image[..., :3] = np.where(sound[..., None], to_rgb(colour(SOUND)), to_rgb(colour(BEHIND)))
    image[..., 3] = np.where(concepts, np.clip(0.35 + 0.6 * depth / FULL, 0, 0.95), 0)
    width = seconds * BLOCK * depth.shape[1] / frames
    extent = (0, width, -0.5, len(depth) - 0.5)
    axes.imshow(image, origin="lower", aspect="auto", interpolation="nearest", extent=extent)
    axes.set_xlim(0, seconds)
    return int((concepts & sound).sum()), int((concepts & ~sound).sum())


def outline(axes: Axes, sound: np.ndarray, seconds: float, frames: int, ink: str) -> None:
    """A line around the blocks that are sound."""
    from matplotlib.collections import LineCollection

    step = seconds * BLOCK / frames
    padded = np.pad(sound, 1)
    segments = []
    for band, block in np.argwhere(padded[:, 1:] != padded[:, :-1]):
        segments.append([(block * step, band - 1.5), (block * step, band - 0.5)])
    for band, block in np.argwhere(padded[1:] != padded[:-1]):
        segments.append([((block - 1) * step, band - 0.5), (block * step, band - 0.5)])
    ends = [[(min(x, seconds), y) for x, y in segment] for segment in segments]
    axes.add_collection(LineCollection(ends, colors=ink, linewidths=0.8))


def wrapped(row: str, width: int = 22) -> str:
    """A row's name without its settings, over several lines."""
    import textwrap

    return "\n".join(map(words, textwrap.wrap(row.rpartition(" (")[0].replace(",", ", "), width)[:4]))


def block_lines(row: str, clip: str, depth: np.ndarray, sound: np.ndarray) -> list[tuple[object, ...]]:
    return [
        (
            row,
            clip,
            band,
            block,
            float(depth[band, block]),
            int(sound[band, block]),
            int(depth[band, block] > THRESHOLD),
        )
        for band, block in np.ndindex(depth.shape)
    ]


def concept_curves(
    name: str, counts: Sequence[tuple[str, Sequence[int], Mapping[str, Sequence[float]]]], look: Look
) -> Picture:
    """(network, its kept epochs, "n_fg" and "n_bg" at each) → how many concepts there were at which epoch."""
    caption = (
        "Concepts per clip at the kept epochs, mean over the clips of the first fold and seed: full lines in the sound, dotted ones in the "
        "background. Foreground from 10 dB above the floor."
    )
    return Picture(name, "Concepts during training", caption, draw_curves, (tuple(counts), look))


def draw_curves(counts: Sequence[tuple[str, Sequence[int], Mapping[str, Sequence[float]]]], look: Look) -> Drawing:
    from matplotlib.ticker import MaxNLocator

    figure, axes = figure_with_axes(
        "Concepts during training", look, "epoch", "concepts per clip (dotted: in the background)", height=3.6
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    lines: list[tuple[object, ...]] = []
    for index, (row, epochs, values) in enumerate(counts):
        for key, dashes in (("n_fg", "-"), ("n_bg", ":")):
            label = words(row.rpartition(" (")[0]) if key == "n_fg" else None
            axes.plot(
                epochs,
                values[key],
                label=label,
                color=colour(index),
                linestyle=dashes,
                marker=marker(index),
                markersize=3.5,
                linewidth=1.3,
            )
        lines += [(row, epoch, fg, bg) for epoch, fg, bg in zip(epochs, values["n_fg"], values["n_bg"])]
    axes.set_ylim(bottom=0)
    legend_below(figure, 1)
    return Drawing(figure, ("network", "epoch", "concepts_in_sound", "concepts_in_background"), lines)
