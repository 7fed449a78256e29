"""The report page of run folders with made-up results: what is on it is what the files say, by other means."""

import csv
import dataclasses
import json
import re
import shutil
import subprocess
import sys
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from pipeline import losses, report, runs
from pipeline.config import InputError, Settings
from pipeline.report import page
from pipeline.report.columns import accuracy_table
from pipeline.report.page import gathering, naming, pictures
from pipeline.report.table import NONE
from pipeline.runs import damage
from pipeline.runs import refusal as refusals
from pipeline.runs.refusal import Refusal
from tests.pages import (
    CLASSES,
    CLIPS,
    made_up_embeddings,
    write_run,
    write_sounds,
)

"""Of a fold."""
MIXES = ("soft", "angle,area")


def write_runs(root, mixes=MIXES, **more):
    """A teacher per fold and two seeds of each mix, of folds 1 to 3."""
    for fold in (1, 2, 3):
        write_run(root, None, fold, 0, skill=2.2, **more)
        for mix in mixes:
            for seed in (0, 1):
                write_run(root, mix, fold, seed, skill=1.5 + 0.2 * mixes.index(mix), **more)
    return root


class Page(HTMLParser):
    """What a page refers to, its tags, and the text of its table cells."""

    def __init__(self, text):
        super().__init__()
        self.references, self.tags, self.rows, self.ids, self.cell = [], [], [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for key, value in attrs:
            if key in ("src", "href", "srcset", "data", "poster", "action"):
                self.references.append((tag, value))
            if key == "id":
                self.ids.append(value)
        if tag == "tr":
            self.rows.append([])
        if tag == "td":
            self.cell = ""

    def handle_endtag(self, tag):
        if tag == "td":
            self.rows[-1].append(self.cell)
            self.cell = None

    def handle_data(self, data):
        if self.cell is not None:
            self.cell += data


@pytest.fixture(scope="module")
def written_page(tmp_path_factory):
    """A page of a stamped corpus, its text, and where it lies; sounds of folds 1 and 2 only."""
    where = tmp_path_factory.mktemp("page")
    write_runs(where / "runs", synthetic=True)
    sounds = write_sounds(where / "data of mine", folds=(1, 2))
    path = page.write(where / "runs", where / "reports", "mini", embeddings=made_up_embeddings, audio=sounds)
    return path, path.read_text(encoding="utf-8"), where


@pytest.fixture
def undrawn(monkeypatch):
    """Pages with an empty element for each picture: for what is said in words."""
    monkeypatch.setattr(pictures, "drawings", lambda missing: ["<svg></svg>"] * len(missing))


def pictures_of(written_page):
    (folder,) = (written_page[0].parent / "pictures").iterdir()
    return folder


def read_csv(path):
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def test_nothing_of_the_page_is_elsewhere(written_page):
    path, text, _ = written_page
    assert path == path.parents[1] / "mini" / "index.html"
    assert not re.search(r"https?:|//\w+\.\w|@import|url\((?!#)", text)
    page = Page(text)
    assert not {"script", "link", "iframe", "img", "object"} & set(page.tags) - {"link"}
    assert [value for tag, value in page.references if tag == "link"] == ["data:,"]
    files = [v for _, v in page.references if not v.startswith(("#", "data:"))]
    assert len(files) > 60
    for name in files:  # table.* are the report's, which was not asked for here
        assert name.startswith("table.") or (path.parent / unquote(name)).is_file(), name


def test_ids_are_unique_and_each_reference_inside_the_page_has_its_target(written_page):
    page = Page(written_page[1])
    assert len(page.ids) == len(set(page.ids))
    inside = [v[1:] for _, v in page.references if v.startswith("#")] + re.findall(r"url\(#([^)]*)\)", written_page[1])
    assert len(inside) > 50 and set(inside) <= set(page.ids)


def test_pictures_take_the_pages_colours(written_page):
    svgs = re.findall(r"<svg.*?</svg>", written_page[1], re.S)
    assert len(svgs) == 2 + 3 * 3 + 2 + 2 + 2 + 1  # overview; curves, confusion; recalls; t-SNE, teacher's thrice
    for svg in svgs:
        assert not re.search(r"#[0-9a-f]{6}\b", svg) and "var(--ink)" in svg and 'role="img"' in svg
        assert not re.search(r'style="fill: var\(--paper\)"', svg)  # no background but the page's
    style = re.search(r"<style>(.*?)</style>", written_page[1], re.S)[1]
    for name in set(re.findall(r"var\(--(\w+)\)", "".join(svgs))):
        assert style.count(f"--{name}:") == (1 if name == "font" else 2)
    assert "prefers-color-scheme:dark" in style


def test_the_stamp_is_on_title_banner_and_every_picture(written_page):
    _, text, _ = written_page
    assert re.search(r"<title>SYNTHETIC", text) and re.search(r"<h1>SYNTHETIC", text)
    assert '<p class="banner">SYNTHETIC' in text
    for svg in re.findall(r"<svg.*?</svg>", text, re.S):
        assert "SYNTHETIC: made-up sounds" in svg
    for path in pictures_of(written_page).glob("*.svg"):
        assert "SYNTHETIC: made-up sounds" in path.read_text(encoding="utf-8")


def test_every_picture_is_there_thrice(written_page):
    names = {path.name.rpartition(".")[0] for path in pictures_of(written_page).iterdir()}
    slugs = ["teacher", *(losses.LossMix.parse(mix).slug for mix in MIXES)]
    wanted = {"folds", "differences"} | {f"{kind}-{slug}" for slug in slugs for kind in ("confusion", "tsne")}
    wanted |= {f"curves-{slug}-{picture}" for slug in slugs for picture in ("accuracy", "terms")}
    assert names == wanted | {f"recall-{slug}" for slug in slugs[1:]}
    for name in names:
        assert (pictures_of(written_page) / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (pictures_of(written_page) / f"{name}.svg").read_text(encoding="utf-8").rstrip().endswith("</svg>")
        assert len(read_csv(pictures_of(written_page) / f"{name}.csv")) > 2


def test_a_page_again_draws_what_changed_and_nothing_else(tmp_path):
    def written():
        page.write(tmp_path / "runs", tmp_path / "reports", "mini", embeddings=made_up_embeddings)
        (folder,) = (tmp_path / "reports" / "mini" / "pictures").iterdir()
        return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}, (
            tmp_path / "reports/mini/index.html"
        ).read_text()

    for fold in (1, 2):
        write_run(tmp_path / "runs", "soft", fold, 0)
    first, text = written()
    assert written() == (first, text)
    write_run(tmp_path / "runs", "angle,area", 1, 0)
    second, more = written()
    changed = {name.partition(".")[0] for name in first if second[name] != first[name]}
    assert changed == {"folds"} and len(second) > len(first) and more != text


@pytest.mark.slow
def test_pictures_drawn_by_several_processes_are_the_same(tmp_path, monkeypatch):
    write_run(tmp_path / "runs", "soft", 1, 0)
    paths = []
    for most in (1000, 2):
        monkeypatch.setattr(pictures, "PICTURES_A_PROCESS", most)
        paths.append(page.write(tmp_path / "runs", tmp_path / str(most), "mini", embeddings=made_up_embeddings))
    one, two = ({p.relative_to(path.parent): p.read_bytes() for p in path.parent.rglob("*.*")} for path in paths)
    assert one == two


def test_the_tables_are_the_reports(written_page):
    rows = report.rows(runs.find(written_page[2] / "runs"))
    table = accuracy_table(rows)
    names = [column.name for at, column in enumerate(table.shown) if any(r[at] not in ("", NONE) for r in table.cells)]
    assert len(names) < len(table.shown), "no column is empty, so nothing shows that such a one is left out"
    cells = {row[0]: dict(zip(names, row)) for row in Page(written_page[1]).rows if row and len(row) == len(names)}
    for row in rows:
        shown = cells[row.name]
        assert shown["Mean"] == f"{row.spread.mean:.2f}"
        assert shown["SD over\nfolds"] == f"{row.spread.sd_folds:.2f}"
        assert shown["Notes"] == row.partial


def test_confusion_and_recall_are_of_the_predictions(written_page):
    counts, hits, clips = np.zeros((10, 10), int), np.zeros(10), np.zeros(10)
    for fold in (1, 2, 3):
        for seed in (0, 1):
            folder = next((written_page[2] / "runs").rglob(f"soft1/fold{fold}-seed{seed}"))
            with np.load(folder / "predictions.npz") as file:
                for label, row in zip(file["labels"], file["logits"]):
                    counts[label, int(np.argmax(row))] += 1
                    hits[label] += np.argmax(row) == label
                    clips[label] += 1
    rows = read_csv(pictures_of(written_page) / "confusion-soft1.csv")
    assert [int(row["clips"]) for row in rows] == counts.ravel().tolist()
    assert [row["label"] for row in rows[::10]] == list(CLASSES)
    recall = read_csv(pictures_of(written_page) / "recall-soft1.csv")
    assert [float(row["student_recall"]) for row in recall] == pytest.approx(hits / clips)
    assert [int(row["clips"]) for row in recall] == [3 * CLIPS // 10] * 10


def test_confused_clips_by_hand():
    def predictions(*rows):
        return runs.Predictions(
            np.array(["a", "b", "c"]), np.array([0, 1, 2]), np.log(np.array(rows)), np.array(["", "", ""])
        )

    first = predictions([0.6, 0.3, 0.1], [0.7, 0.2, 0.1], [0.1, 0.1, 0.8])
    second = predictions([0.2, 0.2, 0.6], [0.5, 0.3, 0.2], [0.2, 0.1, 0.7])
    mistaken = gathering.confused({(1, 0): first, (1, 1): second})
    assert [(c.clip, c.label, c.taken_for, c.wrong, c.runs) for c in mistaken] == [
        ("b", 1, 0, 2, 2),
        ("a", 0, 2, 1, 2),
    ]
    assert (mistaken[0].p_label, mistaken[0].p_taken) == (pytest.approx(0.25), pytest.approx(0.6))
    assert gathering.confused({(1, 0): first, (1, 1): second}, most=1) == mistaken[:1]
    assert gathering.confused({}) == []


def test_players_name_files_that_are_there(written_page):
    path, text, _where = written_page
    players = [value for tag, value in Page(text).references if tag == "audio"]
    assert players and all(value.startswith("../../data%20of%20mine/fold%20") for value in players)
    for value in players:
        assert (path.parent / unquote(value)).is_file()
    assert text.count("file not here") == 30 - len(players) > 0  # fold 3 has no sounds
    assert text.count('preload="none"') == len(players)


def test_what_ran_is_on_it(written_page):
    rows = {tuple(row) for row in Page(written_page[1]).rows if row}
    assert ("lr", "0.1", "0.1") in rows and ("model", "resnet18", "cnn2") in rows and ("sr", "22050") in rows
    assert ("torch", "2.13.0") in rows and ("commit", "0123456789 (changed)") in rows and ("runs", "15") in rows
    row = next(row for row in rows if row[0].endswith("soft:1 (baseline)") and len(row) == 11)
    assert row[1:10] == ("6", "1–3", "0, 1", "12", "cpu", "loop", "2", "6", "60.0")
    assert row[10] == "2026-01-01 00:00 to 2026-01-03 00:00 UTC"


def test_thresholds_of_students_that_are_shipped(tmp_path, undrawn):
    """Of students of all folds alone, of the corpus and the mixes asked for; a damaged one is left out and told."""
    write_run(tmp_path / "runs", None, 1, 0)
    write_run(tmp_path / "runs", "soft", 1, 0)
    detects = {
        "hiss & <b>": {"refused": 0.3256, "clips": 20},
        "siren, never heard": {"refused": 1, "clips": 7, "auroc": 0.8125},
    }
    status = {"status": "all folds"}
    finals = {mix: write_run(tmp_path / "finals", mix, 0, 0, result=status) for mix in ("soft", "angle,area")}
    for threshold, folder in zip((0.25125, 0.5), finals.values()):
        weights = str(runs.read_result(folder).get("weights") or "")
        refusals.write(folder, Refusal(threshold, 0.05, 1234, 0.0625, weights, detects))
    write_run(tmp_path / "finals", "ce", 1, 0)  # trained without a class, to see how many of its clips are refused
    whole = {"embeddings": None, "finals_root": tmp_path / "finals"}
    text = page.write(tmp_path / "runs", tmp_path / "reports", "mini", **whole).read_text()
    shown = Page(text)
    assert shown.ids.count("shipped") == 1 and ("a", "#shipped") in shown.references
    assert text.count("is none of these.") == 2 and "is below 0.2512 is" in text and "is below 0.5000 is" in text
    assert "at most 5% of the 1,234 answers to held-out clips" in text and "it refuses 6.2 % of a fold" in text
    for cells in (["hiss & <b>", "20", "32.6", NONE], ["siren, never heard", "7", "100.0", "0.812"]):
        assert shown.rows.count(cells) == 2, shown.rows[-6:]
    some = page.write(tmp_path / "runs", tmp_path / "reports", "mini", mixes=["angle,area"], **whole).read_text()
    assert "is below 0.5000 is" in some and "is below 0.2512 is" not in some
    path = finals["soft"] / refusals.NAME
    path.write_bytes(path.read_bytes()[:-9])
    text = page.write(tmp_path / "runs", tmp_path / "reports", "mini", **whole).read_text()
    assert "is below 0.5000 is" in text and "is below 0.2512 is" not in text
    assert [line.split(": damaged")[0] for line in damage.told()] == [str(path)]
    without = page.write(tmp_path / "runs", tmp_path / "reports", "mini", embeddings=None).read_text()
    assert "none of these" not in without and "#shipped" not in without


def test_without_matplotlib_the_line_that_installs_it(tmp_path):
    write_run(tmp_path / "runs", None, 1, 0)
    code = (
        "import sys; sys.modules['matplotlib'] = None\nfrom pathlib import Path\nfrom pipeline.report import page\n"
        "page.write(Path(sys.argv[1]), Path(sys.argv[2]), 'mini')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "runs", tmp_path / "reports"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    line = f"install it: {sys.executable} -m pip install 'audio-rkd[plots]'"
    assert done.stderr.rstrip().endswith(f"pictures need matplotlib, which is not installed; {line}")
    assert not (tmp_path / "reports").exists()


def test_hostile_names_a_failed_run_and_lost_features(tmp_path):
    """One fold, a class of HTML, a mix of which nothing trained, embeddings that cannot be had."""

    def lost(folder):
        raise InputError("no features in <cache>")

    folder = write_run(tmp_path / "runs", None, 1, 0)
    config = (folder / "config.json").read_text().replace("siren", "<b>&siren</b>")
    (folder / "config.json").write_text(config)
    write_run(tmp_path / "runs", "soft", 1, 0, skill=0, result={"status": "did not train"})
    text = page.write(tmp_path / "runs", tmp_path / "reports", "mini", embeddings=lost).read_text()
    assert "<b>&siren" not in text and "&lt;b&gt;&amp;siren" in text
    assert "Most confused clips" in text and "No t-SNE of resnet18 (teacher): no features in &lt;cache&gt;." in text
    assert "SYNTHETIC" not in text and "file not here" in text


def test_without_runs_the_next_step_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no finished run in .*make teacher"):
        page.write(tmp_path, tmp_path, "mini")


def test_tables_are_told_apart_in_words(tmp_path, undrawn):
    """By models; where these are the same by what differs in their settings; never by a digest alone."""
    root, settings = tmp_path / "runs", Settings()
    slower = dataclasses.replace(settings, student=dataclasses.replace(settings.student, lr=0.5))
    small = dataclasses.replace(settings, teacher=dataclasses.replace(settings.teacher, model="cnn2"))
    write_run(root, None, 1, 0)
    write_run(root, "soft", 1, 0)
    write_run(root, "soft", 1, 0, settings=slower)
    write_run(root, None, 1, 0, settings=small)
    records, rows, _ = report.contents(root, "mini")
    names = naming.labels(gathering.tables(rows, records))
    both = "teacher resnet18, student cnn2"
    assert sorted(names) == sorted(
        [f"{both}, student.lr {settings.student.lr}", f"{both}, student.lr 0.5", "teacher cnn2"]
    )
    text = page.write(root, tmp_path / "reports", "mini").read_text()
    assert [name in text for name in names] == [True] * 3
    # One table needs no name.
    write_run(tmp_path / "one", None, 1, 0)
    assert 'class="of"' not in page.write(tmp_path / "one", tmp_path / "reports", "mini").read_text()


def test_a_teacher_of_the_same_settings_under_another_presets_name_is_on_the_page(tmp_path, undrawn):
    """The table has it; the page looked for it under the students' preset, and there was none."""
    write_run(tmp_path / "runs", None, 1, 0)
    write_run(tmp_path / "runs", "soft", 1, 0, settings=dataclasses.replace(Settings(), preset="other"))
    records, rows, _ = report.contents(tmp_path / "runs", "mini")
    (table,) = gathering.tables(rows, records)
    assert [(len(entry.records), entry.records[0].preset) for entry in table.entries] == [(1, "default"), (1, "other")]
    assert "resnet18 (teacher)" in page.write(tmp_path / "runs", tmp_path / "reports", "mini").read_text()


def test_a_mix_without_an_accuracy_says_why(tmp_path, undrawn):
    write_run(tmp_path / "runs", "soft", 1, 0)
    write_run(tmp_path / "runs", "angle:50,soft:0", 1, 0, result={"status": "outputs untrained"})
    write_run(tmp_path / "runs", "hinton", 1, 0, result={"status": "failed", "accuracy": None})
    text = page.write(tmp_path / "runs", tmp_path / "reports", "mini").read_text()
    assert "1 run, no accuracy: nothing in the mix trains the outputs</span>" in text
    assert "1 run, no accuracy: all stopped</span>" in text and "– %" not in text
    # Notes, which a phone would show off-screen, stand below the table as well.
    below = re.search(r'<ul class="below muted">(.*?)</ul>', text)[1]
    assert below.count("<li>") == 3 and "retrieval measures the embedding" in below
    assert text.count('<ul class="below') == 2  # of the accuracies and of the differences


def test_born_again_runs_are_named_where_they_are_not_in_the_table(tmp_path):
    write_run(tmp_path / "runs", "soft", 1, 0)
    _, _, paper = report.contents(tmp_path / "runs", "mini")
    assert not any("born-again" in note for note in paper.notes)
    for generation in (1, 2):
        folder = write_run(tmp_path / "made", "ce,soft", 1, 0)
        about = json.loads((folder / "config.json").read_text()) | {
            "role": "generation",
            "generation": generation,
        }
        (folder / "config.json").write_text(json.dumps(about))
        shutil.move(folder, tmp_path / "runs" / "mini" / "ban-cnn2" / "ce1" / f"gen{generation}" / folder.name)
    _, _, paper = report.contents(tmp_path / "runs", "mini")
    (line,) = (note for note in paper.notes if "born-again" in note)
    assert line.startswith("Not in these tables: 2 born-again runs. Their own table is ban.md")
    assert "make ban" in line and escape(line) in page.write(tmp_path / "runs", tmp_path / "out", "mini").read_text()
