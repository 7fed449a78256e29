"""A picture and its files; its colours, of which the SVG inside a page gets those of light or dark.

A figure is drawn in the colours of ``LIGHT``. In a page (``inline``) each of them becomes the CSS variable of its
name, so that the page decides; the files in a folder keep them, on white.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pipeline import runs
from pipeline.config import InputError
from pipeline.extras import install_line
from pipeline.report.table import comma_separated

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STAMP = "SYNTHETIC"

#: Name → colour on white and on black. The ten series can be told apart with colour-blind eyes by lightness and hue
#: (after Okabe and Ito 2008); lines and points differ in dashes and shape as well.
COLOURS = {
    "ink": ("#1b1f24", "#e6e9ec"),
    "muted": ("#5b6570", "#a3adb8"),
    "grid": ("#d9dee3", "#39414a"),
    "paper": ("#ffffff", "#14171a"),
    "warn": ("#b3261e", "#ff8a80"),
    "c0": ("#0072b2", "#58b2e8"),
    "c1": ("#d55e00", "#ff8f45"),
    "c2": ("#009e73", "#2fc99a"),
    "c3": ("#cc79a7", "#ea9dc6"),
    "c4": ("#a67c00", "#e6b93f"),
    "c5": ("#2b9ccf", "#9fdcf7"),
    "c6": ("#7b4fb5", "#b794f4"),
    "c7": ("#8c564b", "#c9917f"),
    "c8": ("#6f7a85", "#b4bec8"),
    "c9": ("#b5174f", "#ff6b95"),
}
LIGHT = {name: light for name, (light, _) in COLOURS.items()}
SERIES = 10
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

WIDTH = 4.0
"""Inches: a phone's width at the size of print."""

DPI = 160


@dataclass(frozen=True)
class Look:
    """What all pictures of a report share: whether they are stamped."""

    synthetic: bool = False


class Drawing(NamedTuple):
    """A figure and the table of the numbers in it."""

    figure: Figure
    header: tuple[str, ...]
    rows: Sequence[Sequence[object]]


@dataclass(frozen=True, eq=False)
class Picture:
    """What a figure shows in words, and how to draw it: ``draw(*inputs)``, nothing else goes into it.

    So it is known whether files are of this picture without drawing it.
    """

    name: str
    """Of its files, without the ending."""
    title: str
    caption: str
    """What is drawn, and over what; plain text."""
    draw: Callable[..., Drawing]
    inputs: tuple[Any, ...]
    wide: bool = False
    """Needs the page's whole width."""

    def drawing(self) -> Drawing:
        return self.draw(*self.inputs)

    @property
    def digest(self) -> str:
        """Of all that its files depend on: inputs, the code that draws, and the libraries."""
        content = (self.name, self.draw.__qualname__, plain(self.inputs), code_digest())
        return hashlib.sha1(repr(content).encode()).hexdigest()


def plain(value: Any) -> Any:
    """Lists in place of mappings, tuples and arrays, so that equal values have one text."""
    if isinstance(value, np.ndarray):
        return [value.dtype.str, value.shape, hashlib.sha1(value.tobytes()).hexdigest()]
    if isinstance(value, Mapping):
        return [[plain(key), plain(item)] for key, item in value.items()]
    return [plain(item) for item in value] if isinstance(value, tuple | list) else value


@cache
def code_digest() -> str:
    """Of this package's files and of the libraries that draw (not imported for it: most pictures are kept from before)."""
    content = hashlib.sha1(f"{version('matplotlib')} {version('scikit-learn')}".encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        content.update(path.read_bytes())
    return content.hexdigest()


def require_matplotlib() -> None:
    """``InputError`` with the line that installs it where matplotlib is missing."""
    if importlib.util.find_spec("matplotlib") is None:
        raise InputError(f"pictures need matplotlib, which is not installed; install it: {install_line('plots')}")


def words(name: str) -> str:
    """A name as matplotlib shows it unchanged: it takes dollars for mathematics, and hides what begins with "_"."""
    return ("\u200b" if name.startswith("_") else "") + name.replace("$", r"\$")


def colour(index: int) -> str:
    return LIGHT[f"c{index % SERIES}"]


def marker(index: int) -> str:
    """Shapes have another period than colours: 70 pairs, and neighbours in colour differ in shape."""
    return MARKERS[index % len(MARKERS)]


def figure_with_axes(
    title: str, look: Look, x: str = "", y: str = "", *, width: float = WIDTH, height: float = 3.1
) -> tuple[Figure, Axes]:
    """A figure in inches with one panel, its title, its axes' names and, where the sounds are made up, the stamp."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor=LIGHT["paper"])
    axes = figure.add_subplot(facecolor="none")
    axes.set_title(title, fontsize=9.5, fontweight="bold", color=LIGHT["ink"], loc="left", y=1.0)
    if look.synthetic:
        figure.suptitle(f"{STAMP}: made-up sounds", fontsize=9, fontweight="bold", color=LIGHT["warn"])
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(LIGHT["muted"])
    axes.tick_params(labelsize=8, color=LIGHT["muted"], labelcolor=LIGHT["ink"], which="both")
    axes.grid(True, color=LIGHT["grid"], linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel(x, fontsize=8.5, color=LIGHT["ink"])
    axes.set_ylabel(y, fontsize=8.5, color=LIGHT["ink"])
    return figure, axes


def legend_below(figure: Figure, columns: int, *, length: float = 1.8) -> None:
    """The names of what is drawn, under the panel; ``length`` of a sample of line, in widths of a letter."""
    figure.legend(
        loc="outside lower center",
        ncols=columns,
        fontsize=8,
        frameon=False,
        labelcolor=LIGHT["ink"],
        handlelength=length,
        columnspacing=1.2,
        borderpad=0.1,
    )


def lay_out(figure: Figure) -> None:
    """Fix the places of panel, title and legend: else each kind of file lays out the figure anew, and draws it twice."""
    import matplotlib

    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        with matplotlib.rc_context({"figure.autolayout": False, "figure.constrained_layout.use": False}):
            figure.set_layout_engine(None)


def svg(figure: Figure, name: str) -> str:
    """The figure as a document of its own; text stays text; ids come from ``name``."""
    import matplotlib

    out = io.BytesIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif"}):
        figure.savefig(out, format="svg", metadata=nothing)
    return out.getvalue().decode("utf-8")


def png(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=DPI, metadata={"Software": None})
    return out.getvalue()


def files(picture: Picture, folder: Path) -> dict[str, Path]:
    return {end: folder / f"{picture.name}.{end}" for end in ("png", "csv", "svg")}


def mark(picture: Picture, *contents: bytes) -> str:
    """How the picture's SVG ends: what it is of, and what was written (the SVG before its end, PNG, CSV)."""
    written = hashlib.sha1()
    for content in contents:
        written.update(hashlib.sha1(content).digest())
    return f"<!-- {picture.digest} {written.hexdigest()} -->\n</svg>\n"


def kept(picture: Picture, folder: Path) -> str | None:
    """The SVG's text where ``save`` has written this very picture in ``folder`` before; None where it has not, or one of its files
    is not what was written.
    """
    paths = files(picture, folder)
    try:
        svg_bytes, png_bytes, csv_bytes = (paths[end].read_bytes() for end in ("svg", "png", "csv"))
    except OSError:
        return None
    before, _, _ = svg_bytes.rpartition(b"<!-- ")
    if svg_bytes[len(before) :] != mark(picture, before, png_bytes, csv_bytes).encode():
        return None
    return svg_bytes.decode("utf-8")


def save(picture: Picture, folder: Path) -> str:
    """Draw the picture, write ``<name>.png``, ``.csv`` and ``.svg`` in ``folder``, and return the SVG's text.

    The SVG comes last and ends with digests of what is drawn and of all three files: it says that they are there, whole, and of what.
    """
    paths = files(picture, folder)
    figure, header, rows = picture.drawing()
    lay_out(figure)
    before = svg(figure, picture.name).rstrip().removesuffix("</svg>")
    cells = [tuple(cell_value(value) for value in row) for row in rows]
    drawn, table = png(figure), comma_separated(header, cells).encode()
    text = before + mark(picture, before.encode(), drawn, table)
    runs.write_atomic(paths["png"], drawn)
    runs.write_atomic(paths["csv"], table)
    runs.write_atomic(paths["svg"], text.encode())
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
    text = re.sub(r'url\(#|href="#', lambda match: f"{match[0]}{key}-", text)
    text = re.sub(r"(font: [^;\"]*?\d+px) [^;\"]*", r"\1 var(--font)", text)
    for name, value in LIGHT.items():
        text = text.replace(value, f"var(--{name})")
    head = f'<svg role="img" aria-label="{alt}"'
    text = re.sub(r' (?:width|height)="[\d.]+pt"', "", text, count=2).replace("<svg", head, 1)
    return re.sub(r"\s*\n\s*", "\n", text).strip()
