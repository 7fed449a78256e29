"""The table from run folders on disk with made-up figures, against calculations by hand."""

import csv
import dataclasses
import io
import math
import re
import shutil
import subprocess

import numpy as np
import pytest
from scipy import stats

from pipeline import losses, report, runs
from pipeline.config import InputError, Settings
from pipeline.report import tables

#: Accuracy of (fold, seed): rows folds 1 to 3, columns seeds 0 and 1.
SOFT = [[0.50, 0.52], [0.60, 0.62], [0.40, 0.48]]
ANGLE = [[0.51, 0.55], [0.63, 0.64], [0.42, 0.47]]


def canonical(mix):
    return str(losses.LossMix.parse(mix))


def put(root, mix, table, *, corpus="mini", folds=10, settings=None, change=None, result=None):
    """Run folders for a matrix of accuracies (folds, seeds); None for a run that is not there."""
    settings = settings or Settings()
    role = "teacher" if mix is None else "student"
    slug = losses.LossMix.parse(mix).slug if mix else None
    folders = []
    for fold, row in enumerate(table, 1):
        for seed, accuracy in enumerate(row):
            if accuracy is None:
                continue
            own = {
                "schema": 1, "role": role, "model": getattr(settings, role).model, "corpus": corpus,
                "dataset": "urbansound8k", "synthetic": False, "fold": fold, "seed": seed,
                "mix": canonical(mix or "ce"), "slug": slug, "preset": settings.preset, "teacher": None,
                "settings": {n: dataclasses.asdict(getattr(settings, n)) for n in ("features", "teacher", "student")},
                "data": {str(k + 1): f"digest{k}" for k in range(len(table))}, "skipped": {},
                "all_folds": list(range(1, folds + 1)), "classes": ["a", "b"], "shape": [5, 20, 173], "pack": {},
            }  # fmt: skip
            figures = {
                "accuracy": accuracy, "best_accuracy": accuracy + 0.1, "best_epoch": 3, "epochs": 4, "test_clips": 240,
                "parameters": 178466 if role == "teacher" else 116538, "seconds": 1.0, "status": "trained",
                "failure": None, "macro_f1": accuracy / 2, "ece": 0.2, "agreement": None if role == "teacher" else 0.7,
                "finished": f"2026-01-{fold:02d}T00:00:00+00:00",
            }  # fmt: skip
            folder = runs.cell_path(root, corpus, role, settings, slug, fold, seed)
            runs.write_finished(
                folder, config=own | (change or {}), result=figures | (result or {}), model_bytes=b"",
                environment={"python": "3.11.4", "packages": {"numpy": "2.4.6", "torch": "2.13.0"}, "commit": None},
                predictions=runs.Predictions(np.array(["a"]), np.array([0]), np.zeros((1, 2)), np.array(["s"])),
            )  # fmt: skip
            folders.append(folder)
    return folders


@pytest.fixture
def root(tmp_path):
    """Teacher, baseline and one mix: three of ten folds, two seeds."""
    root = tmp_path / "runs"
    put(root, None, [[0.45], [0.55], [0.50]])
    put(root, "soft", SOFT)
    put(root, "angle:50", ANGLE)
    return root


def by_name(root, corpus="mini"):
    return {row.name: row for row in report.rows(runs.find(root, corpus))}


def test_figures_by_hand(root):
    found = by_name(root)
    assert list(found) == ["resnet18 (teacher)", f"{canonical('soft')} (baseline)", canonical("angle:50")]
    soft = found[f"{canonical('soft')} (baseline)"]
    assert soft.spread.mean == pytest.approx(52)  # folds 51, 61, 44
    assert soft.spread.sd_folds == pytest.approx(math.sqrt((1 + 81 + 64) / 2))
    assert soft.spread.sd_seeds == pytest.approx(math.sqrt(4 + 4))  # seeds 50, 54
    assert soft.spread.n == 6 and soft.parameters == 116538
    assert soft.best == pytest.approx(62) and soft.macro_f1 == pytest.approx(26) and soft.agreement == 70
    assert soft.comparison is None and soft.partial == "partial (3 of 10 folds)"
    assert soft.published == 63.70 and soft.difference_to_published == pytest.approx(52 - 63.70)
    teacher = found["resnet18 (teacher)"]
    assert (teacher.published, teacher.parameters, teacher.comparison) == (68.16, 178466, None)
    assert teacher.spread.sd_seeds is None


def test_comparison_by_hand(root):
    angle = by_name(root)[canonical("angle:50")]
    d = [1, 3, 3, 2, 2, -1]  # percentage points, ANGLE − SOFT
    mean = sum(d) / 6
    variance = sum((x - mean) ** 2 for x in d) / 5
    error = math.sqrt((1 / 6 + 1 / 2) * variance)  # three folds: one tests, two train
    own = angle.comparison
    assert own.difference == pytest.approx(mean) and own.n == 6 and own.ratio == 0.5
    assert own.p == pytest.approx(2 * stats.t.sf(mean / error, 5))
    assert own.low == pytest.approx(mean - stats.t.ppf(0.975, 5) * error)
    assert own.high == pytest.approx(mean + stats.t.ppf(0.975, 5) * error)
    folds = [2, 2.5, 0.5]
    m = sum(folds) / 3
    t = m / math.sqrt((1 / 3 + 1 / 2) * sum((x - m) ** 2 for x in folds) / 2)
    assert own.p_folds == pytest.approx(2 * stats.t.sf(t, 2))
    assert angle.p_holm == own.p  # one mix: nothing to adjust


def test_holm_counts_the_mixes_of_the_table(root):
    put(root, "area:7", [[0.58, 0.61], [0.69, 0.70], [0.49, 0.57]])
    found = by_name(root)
    p = {name: row.comparison.p for name, row in found.items() if row.comparison}
    first, second = sorted(p, key=lambda name: p[name])
    assert len(p) == 2 and p[first] < p[second]
    assert found[first].p_holm == pytest.approx(min(1, 2 * p[first]))
    assert found[second].p_holm == pytest.approx(max(p[second], found[first].p_holm))


def test_order_is_table_3s_then_own_mixes(tmp_path):
    own = ["area:7", "angle:3"]
    for mix in [*own, *(row.mix or None for row in reversed(losses.TABLE3))]:
        put(tmp_path, mix, [[0.5]])
    found = report.rows(runs.find(tmp_path))
    assert [(row.mix, row.published) for row in found] == [
        *((row.mix, row.percent) for row in losses.TABLE3),
        ("angle:3,soft:1", None),
        ("area:7,soft:1", None),
    ]
    assert found[0].role == "teacher" and found[1].baseline


def test_markdown_has_its_columns_and_figures(root, tmp_path):
    printed = report.report(root, tmp_path / "reports", "mini")
    markdown = (tmp_path / "reports" / "mini" / "table.md").read_text()
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    first = cells[: next(i for i, row in enumerate(cells) if i and row[0] == "Model / mix")]
    assert first[0] == [
        "Model / mix", "Mean %", "SD over folds", "SD over seeds", "n (folds × seeds)", "Best epoch % (optimistic)",
        "Parameters", "Published %", "Difference to published", "Notes",
    ]  # fmt: skip
    assert first[3] == [
        f"{canonical('soft')} (baseline)".replace("_", "\\_"), "52.00", "8.54", "2.83", "6 (3 × 2)", "62.00",
        "116,538", "63.70", "−11.70", "partial (3 of 10 folds)",
    ]  # fmt: skip
    assert all(len(row) == len(first[0]) for row in first)
    second = cells[len(first) :]
    assert [row[0] for row in second[2:]] == [canonical("angle:50")]
    assert second[2][1] == "+1.67" and second[2][3] == "6"
    assert "SYNTHETIC" not in markdown + printed
    for text in (markdown, printed):
        assert "Nadeau and Bengio 2003" in text and "n_test/n_train = 0.5" in text.replace("\\_", "_")
        assert "2026-01-01" in text and "numpy 2.4.6" in text and "preset default" in text


def test_csv_reads_back(root, tmp_path):
    report.report(root, tmp_path / "reports", "mini")
    content = (tmp_path / "reports" / "mini" / "table.csv").read_text()
    found = list(csv.DictReader(io.StringIO(content)))
    angle = next(row for row in found if row["mix"] == canonical("angle:50"))
    assert len(found) == 3 and None not in angle and None not in angle.values()
    assert float(angle["mean_percent"]) == pytest.approx(100 * np.mean(ANGLE))
    assert float(angle["p"]) == pytest.approx(by_name(root)[canonical("angle:50")].comparison.p, rel=1e-8)
    assert (angle["folds"], angle["seeds"], angle["n"]) == ("1 2 3", "0 1", "6")
    assert angle["partial"] == "partial (3 of 10 folds)" and angle["synthetic"] == ""


def test_whole_corpus_is_not_partial(tmp_path):
    put(tmp_path / "runs", "soft", SOFT, folds=3)
    printed = report.report(tmp_path / "runs", tmp_path, "mini")
    assert "artial" not in printed


def test_synthetic_is_stamped_everywhere(tmp_path):
    change = {"synthetic": True, "dataset": "synthetic"}
    put(tmp_path / "runs", None, [[0.5], [0.5]], corpus="synthetic", change=change)
    put(tmp_path / "runs", "soft", [[0.5], [0.6]], corpus="synthetic", change=change)
    put(tmp_path / "runs", "angle:50", [[0.5], [0.7]], corpus="synthetic", change=change)
    printed = report.report(tmp_path / "runs", tmp_path / "reports", "synthetic")
    folder = tmp_path / "reports" / "synthetic"
    for text in (printed, (folder / "table.md").read_text(), (folder / "table.tex").read_text()):
        named = [
            line for line in text.splitlines() if "resnet18" in line or "soft" in line or "angle" in line
        ]
        rows = [line for line in named if "116,538" in line or "178,466" in line or "[" in line]
        assert len(rows) >= 3 and all("SYNTHETIC" in line for line in rows)
        assert (
            "SYNTHETIC" in text.splitlines()[0] or "SYNTHETIC" in text.split("section*", 1)[1].splitlines()[0]
        )
    with (folder / "table.csv").open() as file:
        assert {row["synthetic"] for row in csv.DictReader(file)} == {"SYNTHETIC"}
    # The paper's figures are of other sounds.
    assert all(row.published is None for row in report.rows(runs.find(tmp_path / "runs")))


def test_published_figures_are_of_urbansound8k_and_the_papers_networks(tmp_path):
    put(tmp_path / "a", "soft", [[0.5]], change={"dataset": "esc10"})
    put(tmp_path / "b", None, [[0.5]], change={"model": "resnet56"})
    assert [row.published for name in "ab" for row in report.rows(runs.find(tmp_path / name))] == [None, None]


def test_runs_that_did_not_train_are_named_and_not_averaged_in(root, tmp_path):
    put(root, "area:7", [[None, 0.50], [0.60, 0.70], [0.40, 0.50]])
    put(
        root,
        "area:7",
        [[0.10]],
        result={"status": "did not train"},
        change={"data": {str(k + 1): f"digest{k}" for k in range(3)}},
    )
    row = by_name(root)[canonical("area:7")]
    assert row.did_not_train == ((1, 0),) and row.runs == 6 and row.spread.n == 5
    assert row.spread.mean == pytest.approx((50 + 65 + 45) / 3)
    assert row.all_runs == pytest.approx((30 + 65 + 45) / 3)
    assert row.comparison.n == 5
    printed = report.report(root, tmp_path / "reports", "mini")
    assert "1 of 6 runs did not train (fold1-seed0); mean with them 46.67" in printed
    assert "5 (3 folds, uneven)" in printed and "Did not train:" in printed


def test_a_mix_of_which_nothing_trained_still_has_a_row(root, tmp_path):
    put(root, "area:7", [[0.10], [0.1], [0.1]], result={"status": "did not train"})
    put(root, "distance:3", [[0.0], [0.0], [0.0]],
        result={"status": "failed", "accuracy": None, "best_accuracy": None, "failure": "distance is not finite"})  # fmt: skip
    found = by_name(root)
    for mix in ("area:7", "distance:3"):
        row = found[canonical(mix)]
        assert row.spread is None and row.comparison is None and row.p_holm is None
        assert row.partial == "partial (0 of 10 folds)"
    printed = report.report(root, tmp_path / "reports", "mini")
    assert "3 of 3 runs did not train" in printed
    assert "3 of 3 runs failed (fold1-seed0: distance is not finite; fold2-seed0" in printed


def test_a_failed_run_counts_as_chance_in_the_mean_with_all_runs(root, tmp_path):
    put(root, "area:7", [[None, 0.8], [None, 0.7], [None, 0.9]])
    put(root, "area:7", [[0.0]], result={"status": "failed", "accuracy": None, "failure": "area is not finite"},
        change={"data": {str(k + 1): f"digest{k}" for k in range(3)}})  # fmt: skip
    row = by_name(root)[canonical("area:7")]
    assert row.spread.mean == pytest.approx(80)
    assert row.all_runs == pytest.approx(((80 + 50) / 2 + 70 + 90) / 3)  # two classes
    assert "mean with them at chance 75.00" in report.report(root, tmp_path / "reports", "mini")


def test_students_of_a_teachers_best_epoch_are_said_to_be_optimistic(root, tmp_path):
    settings = dataclasses.replace(
        Settings(), student=dataclasses.replace(Settings().student, teacher_epoch="best")
    )
    put(root, "angle:50", ANGLE, settings=settings, change={"teacher": "runs/mini/teacher"})
    put(root, "ce", ANGLE, settings=settings)
    report.report(root, tmp_path / "reports", "mini")
    with (tmp_path / "reports" / "mini" / "table.csv").open() as file:
        notes = [(row["mix"], "held-out fold chose it" in row["notes"]) for row in csv.DictReader(file)]
    assert [mix for mix, said in notes if said] == [canonical("angle:50")]
    assert len([mix for mix, _ in notes if mix == canonical("angle:50")]) == 2


def test_skipped_clips_are_counted(tmp_path):
    put(tmp_path, "soft", [[0.5]], change={"skipped": {"1": 2, "2": 0, "3": 1}})
    (row,) = report.rows(runs.find(tmp_path))
    assert row.skipped == 3 and "3 clips skipped" in report.wording.remarks(row)


def test_two_finished_runs_of_one_cell_are_refused(root, tmp_path):
    folder = next(root.rglob("student-*/*/fold2-seed1"))
    shutil.copytree(folder, folder.with_name("fold2-seed1-copy"))
    with pytest.raises(InputError) as caught:
        report.report(root, tmp_path / "reports", "mini")
    message = str(caught.value)
    assert "two finished runs of one cell" in message and "fold 2, seed 1" in message and "\n" not in message
    assert str(folder) in message and not (tmp_path / "reports").exists()


def test_the_teachers_cell_may_be_refused_too(root):
    folder = next(root.rglob("teacher-*/fold1-seed0"))
    shutil.copytree(folder, folder.parent.with_name("teacher-of-another-name") / folder.name)
    with pytest.raises(InputError, match=r"\(teacher, fold 1, seed 0\)"):
        report.rows(runs.find(root))


def test_settings_never_mix(root, tmp_path):
    """Another learning rate of the student: another table, with its own baseline, under the same teacher."""
    plain = Settings()
    faster = dataclasses.replace(plain, student=dataclasses.replace(plain.student, lr=0.02))
    put(root, "soft", [[0.30, 0.3], [0.3, 0.3], [0.3, 0.3]], settings=faster)
    put(root, "angle:50", [[0.35, 0.36], [0.35, 0.35], [0.35, 0.35]], settings=faster)
    # Another preset whose teacher has the same settings is no second run of one cell.
    put(root, None, [[0.9], [0.9], [0.9]], settings=dataclasses.replace(plain, preset="other"))
    found = report.rows(runs.find(root))
    keys = list(dict.fromkeys(row.key for row in found))
    assert len(keys) == 3 and [sum(row.key == key for row in found) for key in keys] == [3, 3, 1]
    means = [(row.mix, row.spread.mean) for row in found if row.spread]
    assert sorted(mean for mix, mean in means if mix == canonical("soft")) == pytest.approx([30, 52])
    lifts = sorted(row.comparison.difference for row in found if row.comparison)
    assert lifts == pytest.approx([10 / 6, 31 / 6])
    assert [mean for mix, mean in means if mix == ""] == pytest.approx([50, 50, 90])
    printed = report.report(root, tmp_path / "reports", "mini")
    assert printed.count("Mean") - printed.count("Mean:") == 3 and "differ in settings" in printed


def test_runs_on_other_data_stand_in_a_table_of_their_own(tmp_path):
    """Three folds at first, four later: the training sets are not the same."""
    put(tmp_path, "soft", SOFT)
    put(tmp_path, "angle:50", [[0.5, 0.5], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5]])
    found = report.rows(runs.find(tmp_path))
    assert len({row.key for row in found}) == 2 and all(row.comparison is None for row in found)
    assert any("No comparison" in note for note in report.wording.footnotes(found))


def test_mixes_can_be_chosen(root, tmp_path):
    put(root, "area:7", SOFT)
    printed = report.report(root, tmp_path / "reports", "mini", mixes=["angle:50", "angle:3"])
    assert canonical("angle:50") in printed and canonical("area:7") not in printed and "(baseline)" in printed
    assert "Asked for, without a finished run: angle:3,soft:1." in printed


def test_without_runs_the_next_step_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no finished run in .*make teacher"):
        report.report(tmp_path, tmp_path, "mini")


def test_unfinished_runs_are_told(root, tmp_path):
    next(root.rglob("student-*/*/fold2-seed1/result.json")).unlink()
    printed = report.report(root, tmp_path / "reports", "mini")
    assert "Unfinished, not in the table: 1 run (" in printed and "fold2-seed1)" in printed


def test_printed_columns_line_up(root, tmp_path):
    lines = report.report(root, tmp_path / "reports", "mini").splitlines()
    rule = next(i for i, line in enumerate(lines) if line.startswith("---"))
    ends = [match.end() for match in re.finditer("-+", lines[rule])][1:-1]
    for line in lines[rule + 1 : rule + 4]:
        assert all(line[end - 1] != " " and line[end : end + 2] == "  " for end in ends), line


# --------------------------------------------------------------------------------------------- rendering

HOSTILE = r"50% of #1 & a_b $x$ {y} ~z^2 \end{document} <p|q> “ü” − ± × σ"


def hostile():
    grid = tables.Grid(
        HOSTILE, ("a\nb", HOSTILE, "notes"), ((HOSTILE, "[1, 2]", HOSTILE), ("[x]", "", "")), wide=True
    )
    return tables.Document(HOSTILE, (tables.Section(HOSTILE, (grid,)),), (HOSTILE, "[note]"))


def test_latex_is_ascii_balanced_and_escaped():
    text = tables.latex(hostile())
    assert text.isascii() and text.count(r"\end{document}") == 1 and text.endswith("\\end{document}\n")
    depth = 0
    for char in re.sub(r"\\[\\{}$%&#_]", "", text):
        depth += (char == "{") - (char == "}")
        assert depth >= 0
    assert depth == 0
    bare = re.sub(r"\\[\\{}$%&#_]", "", text)
    assert "%" not in bare and "#" not in bare and "_" not in bare and bare.count("$") % 2 == 0
    assert re.findall(r"\\begin\{(\w+)\}", text) == ["document", "tabular", "itemize"]
    # Every line of the table has as many cells as the header, and none begins with a bare "[".
    body = [line for line in text.splitlines() if line.endswith(r" \\")]
    assert len(body) == 3
    assert {len(re.findall(r"(?<!\\)&", line)) for line in body} == {2}
    assert not any(line.startswith("[") for line in text.splitlines())


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no pdflatex here")
@pytest.mark.parametrize("kind", ["hostile", "report"])
def test_latex_compiles(kind, root, tmp_path):
    if kind == "report":
        report.report(root, tmp_path, "mini")
    else:
        (tmp_path / "mini").mkdir()
        (tmp_path / "mini" / "table.tex").write_text(tables.latex(hostile()))
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"],
        cwd=tmp_path / "mini", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]


def test_markdown_escapes_what_would_change_the_table():
    lines = tables.markdown(hostile()).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 4 and {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {4}
    assert r"a\_b" in lines[0] and r"\<p\|q>" in lines[0]


def test_csv_quotes():
    text = tables.comma_separated(("a", "b"), [('say "x", y', None), ("line\nbreak", 1.5)])
    assert list(csv.reader(io.StringIO(text))) == [["a", "b"], ['say "x", y', ""], ["line\nbreak", "1.5"]]
