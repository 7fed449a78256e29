"""Pictures of plain numbers: what is drawn and written, against loops by hand."""

import csv
import math
import re

import numpy as np
import pytest

from pipeline.figures import statistics
from pipeline.report import plots
from pipeline.report.plots import picture
from pipeline.report.plots.curves import curve

LOOK = plots.Look()


def test_curve_by_hand():
    histories = {
        (1, 0): [{"epoch": 1, "a": 1.0}, {"epoch": 2, "a": 4.0}],
        (2, 0): [{"epoch": 1, "a": 3.0}],
        (3, 0): [{"epoch": 1, "a": None}, {"epoch": 2}],
    }
    points = curve(histories, lambda record: record.get("a"))
    assert points.epochs.tolist() == [1, 2] and points.runs.tolist() == [2, 1]
    assert points.mean.tolist() == [2, 4] and points.low.tolist() == [1, 4] and points.high.tolist() == [3, 4]
    assert points.sd[0] == pytest.approx(math.sqrt(2)) and math.isnan(points.sd[1])


def records(scale):
    return [
        {
            "epoch": e,
            "loss": 3 * scale / e,
            "accuracy": 0.1 * e,
            "train_accuracy": 0.2,
            "terms": {
                "angle": {"raw": scale / e / 10, "weighted": 2 * scale / e},
                "soft": {"raw": scale / e, "weighted": scale / e},
            },
        }
        for e in (1, 2, 3)
    ]


def panel(picture_drawn):
    """What was drawn: the panel, and the rows of the CSV."""
    drawing = picture_drawn.drawing()
    return drawing.figure.axes[0], drawing.rows


def test_term_curves_draw_weighted_terms_and_total():
    picture = plots.term_curves("x", {(1, 0): records(1.0), (2, 0): records(3.0)}, LOOK)
    axes, rows = panel(picture)
    drawn = {line.get_label(): line.get_ydata().tolist() for line in axes.lines}
    assert drawn == {
        "angle": pytest.approx([4, 2, 4 / 3]),
        "soft": pytest.approx([2, 1, 2 / 3]),
        "total": pytest.approx([6, 3, 2]),
    }
    raw = [row for row in rows if row[1:3] == ("angle", "raw")]
    assert [row[3] for row in raw] == pytest.approx([0.2, 0.1, 0.2 / 3])
    assert axes.get_yscale() == "log" and "logarithmic" in picture.caption


def test_terms_of_zero_are_drawn_on_a_plain_scale():
    history = records(1.0)
    history[2]["terms"]["angle"] = {"raw": 0.0, "weighted": 0.0}
    assert panel(plots.term_curves("x", {(1, 0): history}, LOOK))[0].get_yscale() == "linear"


def test_accuracy_is_in_percent():
    _, rows = panel(plots.accuracy_curves("x", {(1, 0): records(1.0)}, LOOK))
    held_out = [row for row in rows if row[1] == "held-out"]
    assert [row[2] for row in held_out] == pytest.approx([10, 20, 30]) and {row[-1] for row in held_out} == {1}


def test_fold_points_join_the_same_fold():
    first, second = {(1, 0): 50.0, (1, 1): 60.0, (2, 0): 40.0}, {(2, 0): 45.0}
    axes, rows = panel(plots.fold_points("folds", {"a": first, "b": second}, LOOK))
    points = {line.get_label(): line for line in axes.lines if line.get_label().startswith("fold")}
    assert list(points["fold 2"].get_xdata()) == [40, 45] and list(points["fold 2"].get_ydata()) == [0, 1]
    assert points["fold 1"].get_xdata()[0] == 55 and math.isnan(points["fold 1"].get_xdata()[1])
    assert rows == [("a", 1, 0, 50.0), ("a", 1, 1, 60.0), ("a", 2, 0, 40.0), ("b", 2, 0, 45.0)]


def test_differences_have_the_comparisons_interval():
    values = {(1, 0): 1.0, (2, 0): 3.0, (3, 0): 2.0}
    comparison = statistics.comparison(values, dict.fromkeys(values, 0.0), 0.5)
    axes, rows = panel(plots.difference_points("d", {"a": values}, {"a": comparison}, "soft:1", LOOK))
    assert rows[-1] == ("a", "mean", "", 2.0, comparison.low, comparison.high)
    assert [comparison.low, comparison.high] in [list(line.get_xdata()) for line in axes.lines]
    named = {line.get_label(): list(line.get_xdata()) for line in axes.lines}
    assert {name: x for name, x in named.items() if name.startswith("fold")} == {
        "fold 1": [1],
        "fold 2": [3],
        "fold 3": [2],
    }


def test_confusion_shades_are_shares_of_the_row():
    counts = np.array([[3, 1, 0], [0, 0, 0], [2, 0, 2]])
    axes, rows = panel(plots.confusion_matrix("c", counts, ("a", "b", "c"), "", LOOK))
    (cells,) = axes.collections
    blue, orange = ([int(picture.LIGHT[name][i : i + 2], 16) / 255 for i in (1, 3, 5)] for name in ("c0", "c1"))
    shades = {tuple(path.vertices[:4].mean(0)): shade for path, shade in zip(cells.get_paths(), cells.get_facecolors())}
    assert {place: tuple(shade) for place, shade in shades.items()} == {
        (column, row): pytest.approx((*tint, 0.62 * share))
        for row, column, share, tint in (
            (0, 0, 0.75, blue),
            (0, 1, 0.25, orange),
            (2, 0, 0.5, orange),
            (2, 2, 0.5, blue),
        )
    }
    assert rows[1] == ("a", "b", 1, 0.25) and rows[4] == ("b", "b", 0, 0.0)
    assert {text.get_position(): text.get_text() for text in axes.texts} == {
        (0, 0): "3",
        (1, 0): "1",
        (0, 2): "2",
        (2, 2): "2",
    }


def test_fifty_classes_have_no_counts_in_the_cells():
    picture = plots.confusion_matrix("c", np.eye(50, dtype=int), [f"class {i}" for i in range(50)], "", LOOK)
    assert picture.wide and not panel(picture)[0].texts and "Number" not in picture.caption


def test_projection_is_fixed_and_keeps_groups_apart():
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    values = rng.normal(size=(40, 12)) + 20 * labels[:, None]
    points = plots.projection(values)
    assert np.array_equal(points, plots.projection(values)) and points.shape == (40, 2)
    centres = np.stack([points[labels == k].mean(0) for k in (0, 1)])
    near = np.linalg.norm(points[:, None] - centres, axis=-1).argmin(1)
    assert np.array_equal(near, labels)
    for bad in (values[:7], np.full((20, 3), np.nan)):
        with pytest.raises(ValueError, match="at least 8 clips"):
            plots.projection(bad)


def test_a_picture_that_is_there_is_not_drawn_again(tmp_path, monkeypatch):
    def points(accuracy, synthetic=False):
        return plots.fold_points("folds", {"a": {(1, 0): accuracy}}, plots.Look(synthetic))

    assert plots.kept(points(50.0), tmp_path) is None
    text = plots.save(points(50.0), tmp_path)
    assert plots.kept(points(50.0), tmp_path) == text
    assert plots.kept(points(50.5), tmp_path) is None and plots.kept(points(50.0, True), tmp_path) is None
    with monkeypatch.context() as other:  # drawn by other code
        other.setattr(picture, "code_digest", lambda: "other")
        assert plots.kept(points(50.0), tmp_path) is None
    for end in ("png", "csv"):
        (tmp_path / f"folds.{end}").unlink()
        assert plots.kept(points(50.0), tmp_path) is None
        assert plots.save(points(50.0), tmp_path) == text and plots.kept(points(50.0), tmp_path) == text
    for end in ("png", "csv", "svg"):  # a damaged file of one is no picture: any byte
        path = tmp_path / f"folds.{end}"
        whole = path.read_bytes()
        for place in (0, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            assert plots.kept(points(50.0), tmp_path) is None
            path.write_bytes(whole[:place])
            assert plots.kept(points(50.0), tmp_path) is None
        path.write_bytes(whole)
    assert plots.kept(points(50.0), tmp_path) == text


def test_files_and_the_picture_in_a_page(tmp_path):
    figure = plots.class_pairs(
        "r",
        np.array([0.5, np.nan]),
        np.array([1.0, np.nan]),
        np.array([4, 0]),
        ("a<b", "c"),
        "",
        plots.Look(synthetic=True),
    )
    assert (figure.title, figure.caption) == (
        "Recall by class",
        "Share of each class' held-out clips that are found, teacher against student. ",
    )
    text = plots.save(figure, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"r.svg", "r.png", "r.csv"}
    with (tmp_path / "r.csv").open() as file:
        assert list(csv.reader(file))[1:] == [["a<b", "4", "0.5", "1.0"], ["c", "0", "", ""]]
    assert (tmp_path / "r.svg").read_text() == text and "SYNTHETIC" in text and "#ffffff" in text
    before = (tmp_path / "r.png").read_bytes()
    assert plots.save(figure, tmp_path) == text and (tmp_path / "r.png").read_bytes() == before
    element = plots.inline(text, "p7", "words")
    assert element.startswith('<svg role="img" aria-label="words"') and "http" not in element
    assert not re.search(r"#[0-9a-f]{6}\b", element) and "var(--warn)" in element and "a&lt;b" in element
    assert all(name.startswith("p7-") for name in re.findall(r' id="([^"]*)"', element))
    assert len(set(picture.LIGHT.values())) == len(picture.LIGHT)  # else one colour would become another's variable


@pytest.mark.parametrize("clips", [1, 3])
def test_the_legend_of_what_networks_listen_to_is_within_its_picture(clips: int) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from pipeline.report.plots.listening import draw_listening

    drawn = {
        "clips": [{"name": "a.wav", "class": "siren", "real": 16}] * clips,
        "frame_seconds": 0.02,
        "mel": [[[0.0] * 16] * 3] * clips,
        "foreground": [[[1, 0]] * 3] * clips,
        "networks": [{"kind": "labels", "row": "cnn2 on labels alone (0)", "depth": [[[0.5, 0.0]] * 3] * clips}],
    }
    figure = draw_listening(drawn, plots.Look(synthetic=False)).figure
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    (legend,) = figure.legends
    ends = legend.get_window_extent(canvas.get_renderer())
    assert len(legend.get_texts()) == 3 and ends.x0 >= 0 and ends.x1 <= figure.bbox.width
