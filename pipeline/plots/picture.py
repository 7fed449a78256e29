"""A picture and its files; its colours, of which the SVG inside a page gets those of light or dark.

A figure is drawn in the colours of ``LIGHT``. In a page (``inline``) each of them becomes the CSS variable of its
name, so that the page decides; the files in a folder keep them, on white.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import runs, tables
from pipeline.config import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STAMP = "SYNTHETIC"

#: Name → colour on white and on black. The ten series can be told apart with colour-blind eyes by lightness and hue
#: (after Okabe and Ito 2008); lines and points differ in dashes and shape as well.
COLOURS = {
    "ink": ("#1b1f24", "#e6e9ec"), "muted": ("#5b6570", "#a3adb8"), "grid": ("#d9dee3", "#39414a"),
    "paper": ("#ffffff", "#14171a"), "warn": ("#b3261e", "#ff8a80"),
    "c0": ("#0072b2", "#58b2e8"), "c1": ("#d55e00", "#ff8f45"), "c2": ("#009e73", "#2fc99a"),
    "c3": ("#cc79a7", "#ea9dc6"), "c4": ("#a67c00", "#e6b93f"), "c5": ("#2b9ccf", "#9fdcf7"),
    "c6": ("#7b4fb5", "#b794f4"), "c7": ("#8c564b", "#c9917f"), "c8": ("#6f7a85", "#b4bec8"),
    "c9": ("#b5174f", "#ff6b95"),
}  # fmt: skip
LIGHT = {name: light for name, (light, _) in COLOURS.items()}
SERIES = 10
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

WIDTH = 4.5
"""Inches: a phone's width at the size of print."""

DPI = 160


@dataclass(frozen=True)
class Look:
    """What all pictures of a report share: whether they are stamped."""

    synthetic: bool = False


@dataclass(frozen=True)
class Picture:
    """A figure, its words, and the table of the numbers in it."""

    name: str
    """Of its files, without the ending."""
    title: str
    caption: str
    """What is drawn, and over what; plain text."""
    figure: Figure
    header: tuple[str, ...]
    rows: Sequence[Sequence[object]] = field(default_factory=list)
    wide: bool = False
    """Needs the page's whole width."""


def require_matplotlib() -> None:
    """``InputError`` with the line that installs it where matplotlib is missing."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise InputError(
            "pictures need matplotlib, which is not installed; pip install 'audio-rkd[plots]'"
        ) from None


def words(name: str) -> str:
    """A name as matplotlib shows it unchanged: it takes dollars for mathematics, and hides what begins with "_"."""
    return ("\u200b" if name.startswith("_") else "") + name.replace("$", r"\$")


def colour(index: int) -> str:
    return LIGHT[f"c{index % SERIES}"]


def marker(index: int) -> str:
    """Shapes have another period than colours: 70 pairs, and neighbours in colour differ in shape."""
    return MARKERS[index % len(MARKERS)]


def figure_with_axes(
    title: str, look: Look, *, width: float = WIDTH, height: float = 3.1
) -> tuple[Figure, Axes]:
    """A figure in inches with one panel, its title and, where the sounds are made up, the stamp."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor=LIGHT["paper"])
    axes = figure.add_subplot(facecolor="none")
    axes.set_title(title, fontsize=9.5, fontweight="bold", color=LIGHT["ink"], loc="left")
    if look.synthetic:
        figure.suptitle(f"{STAMP}: made-up sounds", fontsize=9, fontweight="bold", color=LIGHT["warn"])
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(LIGHT["muted"])
    axes.tick_params(labelsize=8, color=LIGHT["muted"], labelcolor=LIGHT["ink"], which="both")
    axes.grid(True, color=LIGHT["grid"], linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def label_axes(axes: Axes, x: str, y: str = "") -> None:
    axes.set_xlabel(x, fontsize=8.5, color=LIGHT["ink"])
    axes.set_ylabel(y, fontsize=8.5, color=LIGHT["ink"])


def legend_below(figure: Figure, columns: int, *, handles: list[Any] | None = None) -> None:
    """The names of what is drawn, under the panel."""
    own = {"handles": handles} if handles else {}
    figure.legend(loc="outside lower center", ncols=columns, fontsize=8, frameon=False, labelcolor=LIGHT["ink"],
                  handlelength=1.8, columnspacing=1.2, borderpad=0.1, **own)  # fmt: skip


# ------------------------------------------------------------------------------------------------- files


def svg(picture: Picture) -> str:
    """The figure as a document of its own; text stays text."""
    import matplotlib

    out = io.BytesIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": picture.name, "font.family": "sans-serif"}
    ):
        picture.figure.savefig(out, format="svg", metadata=nothing)
    return out.getvalue().decode("utf-8")


def png(picture: Picture) -> bytes:
    out = io.BytesIO()
    picture.figure.savefig(out, format="png", dpi=DPI, metadata={"Software": None})
    return out.getvalue()


def save(picture: Picture, folder: Path) -> str:
    """Write ``<name>.svg``, ``.png`` and ``.csv`` in ``folder``, and return the SVG's text."""
    text = svg(picture)
    runs.write_atomic(folder / f"{picture.name}.svg", text.encode())
    runs.write_atomic(folder / f"{picture.name}.png", png(picture))
    rows = [tuple(cell_value(value) for value in row) for row in picture.rows]
    runs.write_atomic(folder / f"{picture.name}.csv", tables.comma_separated(picture.header, rows).encode())
    return text


def cell_value(value: object) -> object:
    """Floats without the last digits of binary fractions, missing numbers as an empty cell."""
    if isinstance(value, float):
        return None if value != value else float(f"{value:.10g}")
    return value


def inline(text: str, key: str, alt: str) -> str:
    """An SVG document as an element of a page: colours as CSS variables, no background, ids with ``key`` before them.

    ``alt`` is for those who cannot see it. Nothing of the element refers to anything outside it.
    """
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.S)
    text = re.sub(r'<g id="patch_1">.*?</g>', "", text, count=1, flags=re.S)  # the figure's background
    text = re.sub(r"<!--.*?-->", "", text, flags=re.S)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r' id="', f' id="{key}-', text)
    text = re.sub(r'url\(#|href="#', lambda found: f"{found[0]}{key}-", text)
    text = re.sub(r"(font: [^;\"]*?\d+px) [^;\"]*", r"\1 var(--font)", text)
    for name, value in LIGHT.items():
        text = text.replace(value, f"var(--{name})")
    head = f'<svg role="img" aria-label="{alt}"'
    text = re.sub(r' (?:width|height)="[\d.]+pt"', "", text, count=2).replace("<svg", head, 1)
    return re.sub(r"\s*\n\s*", "\n", text).strip()
