"""The table from run folders on disk with made-up figures, against calculations by hand."""

import csv
import dataclasses
import io
import json
import math
import re
import shutil
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from pipeline import config, losses, report, runs
from pipeline.config import InputError, Settings
from pipeline.figures import bootstrap
from pipeline.report import experiments, paper
from pipeline.report.html import table_html
from pipeline.report.latex import latex, latex_text, tables
from pipeline.report.table import (
    NONE,
    Column,
    Document,
    Section,
    Table,
    comma_separated,
    inert,
    markdown,
    number,
    of,
    padded,
)
from pipeline.runs.experiments import note_rows

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
            described = {
                "schema": 1,
                "role": role,
                "model": getattr(settings, role).model,
                "corpus": corpus,
                "dataset": "urbansound8k",
                "synthetic": False,
                "fold": fold,
                "seed": seed,
                "mix": canonical(mix or "ce"),
                "slug": slug,
                "preset": settings.preset,
                "teacher": None,
                "settings": {n: dataclasses.asdict(getattr(settings, n)) for n in ("features", "teacher", "student")},
                "data": {str(k + 1): f"digest{k}" for k in range(len(table))},
                "skipped": {},
                "all_folds": list(range(1, folds + 1)),
                "classes": ["a", "b"],
                "shape": [5, 20, 173],
                "pack": {},
            }
            figures = {
                "accuracy": accuracy,
                "best_accuracy": accuracy + 0.1,
                "best_epoch": 3,
                "epochs": 4,
                "test_clips": 240,
                "parameters": 178466 if role == "teacher" else 116538,
                "seconds": 1.0,
                "status": "trained",
                "failure": None,
                "macro_f1": accuracy / 2,
                "ece": 0.2,
                "agreement": None if role == "teacher" else 0.7,
                "finished": f"2026-01-{fold:02d}T00:00:00+00:00",
            }
            folder = runs.cell_path(root, corpus, role, settings, slug, fold, seed)
            runs.write_finished(
                folder,
                config=described | (change or {}),
                result=figures | (result or {}),
                model_bytes=b"",
                environment={"python": "3.11.4", "packages": {"numpy": "2.4.6", "torch": "2.13.0"}, "commit": None},
                predictions=runs.Predictions(np.array(["a"]), np.array([0]), np.zeros((1, 2)), np.array(["s"])),
            )
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
    by_mix = by_name(root)
    assert list(by_mix) == ["resnet18 (teacher)", f"{canonical('soft')} (baseline)", canonical("angle:50")]
    soft = by_mix[f"{canonical('soft')} (baseline)"]
    assert soft.spread.mean == pytest.approx(52)  # folds 51, 61, 44
    assert soft.spread.sd_folds == pytest.approx(math.sqrt((1 + 81 + 64) / 2))
    assert soft.spread.sd_seeds == pytest.approx(math.sqrt(4 + 4))  # seeds 50, 54
    assert soft.spread.n == 6 and soft.parameters == 116538
    assert soft.best == pytest.approx(62) and soft.macro_f1 == pytest.approx(26) and soft.agreement == 70
    assert soft.comparison is None and soft.partial == "partial (3 of 10 folds)"
    assert soft.published == 63.70 and soft.difference_to_published == pytest.approx(52 - 63.70)
    teacher = by_mix["resnet18 (teacher)"]
    assert (teacher.published, teacher.parameters, teacher.comparison) == (68.16, 178466, None)
    assert teacher.spread.sd_seeds is None


def test_comparison_by_hand(root):
    angle = by_name(root)[canonical("angle:50")]
    pairs = [1, 3, 3, 2, 2, -1]  # percentage points, ANGLE − SOFT
    folds = [2, 2.5, 0.5]
    mean = sum(folds) / 3
    sd = math.sqrt(sum((x - mean) ** 2 for x in folds) / 2)
    half = stats.t.ppf(0.975, 2) * math.sqrt((1 / 3 + 1 / 2) * sd**2)  # three folds: one tests, two train
    comparison = angle.comparison
    assert comparison.difference == pytest.approx(mean) and (comparison.units, comparison.n, comparison.ratio) == (
        3,
        6,
        0.5,
    )
    assert (comparison.low, comparison.high) == pytest.approx((mean - half, mean + half))
    assert comparison.sd_units == pytest.approx(sd) and comparison.sd_pairs == pytest.approx(np.std(pairs, ddof=1))
    assert (comparison.p, comparison.p_wilcoxon, angle.p_holm, comparison.no_claim) == (
        None,
        None,
        None,
        "no claim: n = 3 folds",
    )


def table(rng, folds=7, seeds=2, lift=0.0):
    return np.round(0.5 + lift + rng.normal(0, 0.02, (folds, seeds)), 4).tolist()


@pytest.fixture
def seven(tmp_path):
    """Seven folds: enough for a p. Three mixes beside the baseline."""
    rng = np.random.default_rng(0)
    for mix, lift in (("soft", 0), ("angle:50", 0.03), ("area:7", 0.05), ("distance:3", 0.0)):
        put(tmp_path / "runs", mix, table(rng, lift=lift))
    return tmp_path / "runs"


def test_of_seven_folds_p_is_that_of_the_folds_means_and_holm_adjusts_it(seven):
    by_mix = by_name(seven)
    accuracies = {
        mix: 100
        * np.array(
            [
                [r.result.accuracy for r in runs.find(seven) if r.mix_text == canonical(mix) and r.fold == fold]
                for fold in range(1, 8)
            ]
        )
        for mix in ("soft", "angle:50", "area:7", "distance:3")
    }
    p = {}
    for mix in ("angle:50", "area:7", "distance:3"):
        d = (accuracies[mix] - accuracies["soft"]).mean(axis=1)
        t = d.mean() / math.sqrt((1 / 7 + 1 / 6) * d.var(ddof=1))
        p[mix] = 2 * stats.t.sf(abs(t), 6)
        comparison = by_mix[canonical(mix)].comparison
        assert comparison.p == pytest.approx(p[mix]) and comparison.p_wilcoxon == pytest.approx(
            stats.wilcoxon(d).pvalue
        )
        assert comparison.no_claim == "" and comparison.recordings is None
    order = sorted(p, key=p.get)
    largest = 0.0
    for rank, mix in enumerate(order):
        largest = max(largest, min(1, (3 - rank) * p[mix]))
        assert by_mix[canonical(mix)].p_holm == pytest.approx(largest)
        assert by_mix[canonical(mix)].compared_mixes == 3


def test_a_choice_of_mixes_is_adjusted_for_all_of_them(seven, tmp_path):
    whole = report.contents(seven, "mini").rows
    printed = report.report(seven, tmp_path / "reports", "mini", mixes=["area:7"])
    chosen = report.contents(seven, "mini", mixes=["area:7"]).rows
    assert [row.mix for row in chosen] == [canonical("soft"), canonical("area:7")]
    (all_of,) = [row.p_holm for row in whole if row.mix == canonical("area:7")]
    assert chosen[1].p_holm == all_of and all_of > chosen[1].comparison.p
    assert "3 mixes compared to it in all, 1 shown" in printed
    with (tmp_path / "reports" / "mini" / "table.csv").open() as file:
        assert [row["mixes_compared"] for row in csv.DictReader(file)] == ["", "3"]


def recorded(root, mix, right, sources, fold, seed):
    """A finished run of two classes that is right on these clips."""
    (folder,) = put(
        root,
        mix,
        [[None]] * (fold - 1) + [[None] * seed + [float(np.mean(right))]],
        change={"data": {"1": "x", "2": "y"}},
    )
    labels = np.zeros(len(right), np.int64)
    logits = np.where(np.asarray(right)[:, None], [[1.0, 0.0]], [[0.0, 1.0]]).astype(np.float32)
    names = np.array([f"{fold}-{i}" for i in range(len(right))])
    with (folder / "predictions.npz").open("wb") as file:
        np.savez(file, clips=names, labels=labels, logits=logits, sources=np.array(sources))
    return folder


def test_few_folds_have_an_interval_over_recordings_of_their_kept_predictions(tmp_path):
    rng, sources = np.random.default_rng(3), [f"r{i // 3}" for i in range(60)]
    differences = {}
    for fold in (1, 2):
        clips = [f"{fold}{name}" for name in sources]
        hits = {mix: rng.random((2, 60)) < level for mix, level in (("soft", 0.5), ("angle:50", 0.65))}
        for mix, each in hits.items():
            for seed in (0, 1):
                folder = recorded(tmp_path / "runs", mix, each[seed], clips, fold, seed)
        differences[fold] = 100 * (hits["angle:50"].astype(float) - hits["soft"]).mean(axis=0)
    (row,) = [row for row in report.rows(runs.find(tmp_path / "runs")) if row.comparison]
    expected = bootstrap.by_recording(differences, {k: np.array([f"{k}{n}" for n in sources]) for k in differences})
    assert row.comparison.recordings == expected and expected.recordings == 40
    assert row.comparison.difference == pytest.approx(np.mean([d.mean() for d in differences.values()]))
    printed = report.report(tmp_path / "runs", tmp_path, "mini")
    assert "no claim: n = 2 folds" in printed and "folds to come" in printed and "recordings\n" not in printed
    assert f"[{expected.low:+.2f}, {expected.high:+.2f}]".replace("-", "−") in printed
    assert "these folds, with these trainings, over recordings like these" in " ".join(printed.split())
    assert "p (Holm)" not in printed.replace("No claim", "")
    # A lost file of predictions costs this interval, and a line says so.
    (folder / "predictions.npz").write_bytes(b"PK")
    printed = report.report(tmp_path / "runs", tmp_path, "mini")
    assert f"No interval over recordings: {folder}" in printed and "95 % interval" in printed


def test_order_is_table_3s_then_own_mixes(tmp_path):
    mixes = ["area:7", "angle:3"]
    for mix in [*mixes, *(row.mix or None for row in reversed(paper.TABLE3))]:
        put(tmp_path, mix, [[0.5]])
    rows = report.rows(runs.find(tmp_path))
    assert [(row.mix, row.published) for row in rows] == [
        *((row.mix, row.percent) for row in paper.TABLE3),
        ("angle:3,soft:1", None),
        ("area:7,soft:1", None),
    ]
    assert rows[0].role == "teacher" and rows[1].baseline


def test_markdown_has_its_columns_and_figures(root, tmp_path):
    printed = report.report(root, tmp_path / "reports", "mini")
    markdown = (tmp_path / "reports" / "mini" / "table.md").read_text()
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    first = cells[: next(i for i, row in enumerate(cells) if i and row[0] == "Model / mix")]
    assert first[0] == [
        "Model / mix",
        "Mean %",
        "SD over folds",
        "SD over seeds",
        "n (folds × seeds)",
        "Best epoch % (optimistic)",
        "Parameters",
        "Published %",
        "Difference to published",
        "Notes",
    ]
    assert first[3] == [
        f"{canonical('soft')} (baseline)".replace("_", "\\_"),
        "52.00",
        "8.54",
        "2.83",
        "6 (3 × 2)",
        "62.00",
        "116,538",
        "63.70",
        "−11.70",
        "partial (3 of 10 folds)",
    ]
    assert all(len(row) == len(first[0]) for row in first)
    second = cells[len(first) :]
    assert [row[0] for row in second[2:]] == [canonical("angle:50")]
    assert second[0] == [
        "Model / mix",
        "Difference to baseline",
        "95 % interval (folds to come)",
        "95 % interval (recordings like these)",
        "folds",
        "pairs",
        "SD over folds",
        "SD over pairs",
        "Notes",
    ]
    assert (second[2][1], second[2][4], second[2][5], second[2][-1]) == (
        "+1.67",
        "3",
        "6",
        "no claim: n = 3 folds",
    )
    assert "SYNTHETIC" not in markdown + printed
    for text in (markdown, printed):
        assert "Nadeau and Bengio 2003" in text and "n_test/n_train = 0.5" in text.replace("\\_", "_")
        assert "2026-01-01" in text and "numpy 2.4.6" in text and "preset default" in text


def test_csv_reads_back(root, tmp_path):
    report.report(root, tmp_path / "reports", "mini")
    content = (tmp_path / "reports" / "mini" / "table.csv").read_text()
    listed = list(csv.DictReader(io.StringIO(content)))
    angle = next(row for row in listed if row["mix"] == canonical("angle:50"))
    assert len(listed) == 3 and None not in angle and None not in angle.values()
    assert float(angle["mean_percent"]) == pytest.approx(100 * np.mean(ANGLE))
    comparison = by_name(root)[canonical("angle:50")].comparison
    assert float(angle["ci95_low"]) == pytest.approx(comparison.low, rel=1e-8)
    assert (angle["p"], angle["p_holm"], angle["no_claim"]) == ("", "", "no claim: n = 3 folds")
    assert (angle["folds_compared"], angle["pairs"], angle["mixes_compared"]) == ("3", "6", "1")
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
        named = [line for line in text.splitlines() if "resnet18" in line or "soft" in line or "angle" in line]
        rows = [line for line in named if "116,538" in line or "178,466" in line or "[" in line]
        assert len(rows) >= 3 and all("SYNTHETIC" in line for line in rows)
        assert "SYNTHETIC" in text.splitlines()[0] or "SYNTHETIC" in text.split("section*", 1)[1].splitlines()[0]
    with (folder / "table.csv").open() as file:
        assert {row["synthetic"] for row in csv.DictReader(file)} == {"SYNTHETIC"}
    # The paper's figures are of other sounds.
    assert all(row.published is None for row in report.rows(runs.find(tmp_path / "runs")))


def test_published_figures_are_of_urbansound8k_and_the_papers_networks(tmp_path):
    put(tmp_path / "a", "soft", [[0.5]], change={"dataset": "esc10"})
    put(tmp_path / "b", None, [[0.5]], change={"model": "resnet56"})
    assert [row.published for name in "ab" for row in report.rows(runs.find(tmp_path / name))] == [None, None]


@pytest.mark.parametrize("mix", [None, "soft"])
def test_published_figures_are_of_the_papers_five_features_and_of_all_labels(tmp_path, mix):
    changes = {"all": [], "pcen": ["features.use=pcen"], "six": [f"features.use={','.join(config.FEATURES)},pcen"]}
    changes["hidden"] = [f"{'student' if mix else 'teacher'}.unlabelled=0.5"]
    for name, sets in changes.items():
        put(tmp_path / name, mix, [[0.5]], settings=config.read("default", sets))
    rows = {name: report.rows(runs.find(tmp_path / name))[0] for name in changes}
    assert rows["all"].published is not None and rows["all"].difference_to_published is not None
    others = [rows[name] for name in ("pcen", "six", "hidden")]
    assert [(row.published, row.difference_to_published) for row in others] == [(None, None)] * 3


def test_runs_at_chance_are_named_and_counted(root, tmp_path):
    put(root, "area:7", [[None, 0.50], [0.60, 0.70], [0.40, 0.50]])
    put(
        root,
        "area:7",
        [[0.10]],
        result={"status": "did not train"},
        change={"data": {str(k + 1): f"digest{k}" for k in range(3)}},
    )
    row = by_name(root)[canonical("area:7")]
    assert row.at_chance == ((1, 0),) and row.runs == 6 and row.spread.n == 6
    assert row.spread.mean == pytest.approx((30 + 65 + 45) / 3)
    assert row.comparison.n == 6 and row.comparison.difference == pytest.approx((30 - 51 + 65 - 61 + 45 - 44) / 3)
    assert row.with_stopped is None
    printed = report.report(root, tmp_path / "reports", "mini")
    assert "1 of 6 runs no better than chance (fold1-seed0): counted" in printed
    assert "No better than chance:" in printed and "stopped" not in printed.lower()


def test_a_small_corpus_is_not_told_by_its_best_folds(tmp_path):
    """Nine clips per fold: 3 of 9 may be chance, 7 of 9 is none; the truth is the mean of both."""
    put(tmp_path, "soft", [[7 / 9]])
    put(
        tmp_path,
        "soft",
        [[None], [3 / 9]],
        result={"status": "did not train"},
        change={"data": {"1": "digest0"}},
    )
    (row,) = report.rows(runs.find(tmp_path))
    assert row.spread.mean == pytest.approx(500 / 9)  # 55.6


def test_a_mix_of_which_everything_stopped_still_has_rows(root, tmp_path):
    put(
        root,
        "distance:3",
        [[0.0], [0.0], [0.0]],
        result={"status": "failed", "accuracy": None, "best_accuracy": None, "failure": "distance is not finite"},
    )
    row = by_name(root)[canonical("distance:3")]
    assert row.spread is None and row.comparison is None and row.p_holm is None
    assert row.partial == "partial (0 of 10 folds)"
    # Two classes: chance is 50; the baseline's seed 0 has 50, 60, 40.
    assert row.with_stopped == pytest.approx(0)
    printed = report.report(root, tmp_path / "reports", "mini")
    assert "3 of 3 runs stopped (fold1-seed0: distance is not finite; fold2-seed0" in printed
    assert "without the runs that stopped (3 of the mix); with them at chance +0.00" in printed


def test_a_stopped_run_is_out_and_stands_at_chance_beside(root, tmp_path):
    put(root, "area:7", [[None, 0.8], [None, 0.7], [None, 0.9]])
    put(
        root,
        "area:7",
        [[0.0]],
        result={"status": "failed", "accuracy": None, "failure": "area is not finite"},
        change={"data": {str(k + 1): f"digest{k}" for k in range(3)}},
    )
    row = by_name(root)[canonical("area:7")]
    assert row.spread.mean == pytest.approx(80)
    assert row.all_runs == pytest.approx(((80 + 50) / 2 + 70 + 90) / 3)  # two classes
    assert row.comparison.difference == pytest.approx((80 - 52 + 70 - 62 + 90 - 48) / 3)
    assert row.with_stopped == pytest.approx(((80 - 52 + 50 - 50) / 2 + 70 - 62 + 90 - 48) / 3)
    printed = report.report(root, tmp_path / "reports", "mini")
    assert "not counted; mean with them at chance 75.00" in printed
    assert "without the runs that stopped (1 of the mix); with them at chance" in printed


def test_stopped_runs_of_the_baseline_stand_in_every_difference(root):
    folder = next(path for path in root.rglob("soft1/fold2-seed0"))
    result = json.loads((folder / "result.json").read_text()) | {"status": "failed", "accuracy": None}
    (folder / "result.json").write_text(json.dumps(result))
    row = by_name(root)[canonical("angle:50")]
    assert row.comparison.n == 5 and row.baseline_stopped == 1
    assert row.with_stopped == pytest.approx((2 + (63 - 50 + 2) / 2 + 0.5) / 3)
    assert "(1 of the baseline)" in report.wording.comparison_remarks(row)[-1]


def test_outputs_that_overflowed_in_an_older_run_are_no_accuracy(root):
    put(root, "area:7", [[0.5], [0.6], [0.7]], result={"status": "did not train", "nll": None, "ece": None})
    row = by_name(root)[canonical("area:7")]
    assert row.spread is None and len(row.failures) == 3 and row.at_chance == ()


def test_students_of_a_teachers_best_epoch_are_said_to_be_optimistic(root, tmp_path):
    settings = dataclasses.replace(Settings(), student=dataclasses.replace(Settings().student, teacher_epoch="best"))
    put(root, "angle:50", ANGLE, settings=settings, change={"teacher": "runs/mini/teacher"})
    put(root, "ce", ANGLE, settings=settings)
    report.report(root, tmp_path / "reports", "mini")
    with (tmp_path / "reports" / "mini" / "table.csv").open() as file:
        notes = [(row["mix"], "held-out fold chose it" in row["notes"]) for row in csv.DictReader(file)]
    assert [mix for mix, optimistic in notes if optimistic] == [canonical("angle:50")]
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


def test_a_table_is_named_by_its_folds_content_as_it_always_was(tmp_path):
    """Ten folds: text keys sort 1, 10, 2."""
    put(tmp_path, "soft", [[0.5]] * 10)
    (row,) = report.rows(runs.find(tmp_path))
    content = runs.read_config(next(tmp_path.rglob("fold1-seed0")))["data"]
    assert len(content) == 10 and row.key.data == config.digest(content)


def test_settings_never_mix(root, tmp_path):
    """Another learning rate of the student: another table, with its own baseline, under the same teacher."""
    plain = Settings()
    faster = dataclasses.replace(plain, student=dataclasses.replace(plain.student, lr=0.02))
    put(root, "soft", [[0.30, 0.3], [0.3, 0.3], [0.3, 0.3]], settings=faster)
    put(root, "angle:50", [[0.35, 0.36], [0.35, 0.35], [0.35, 0.35]], settings=faster)
    # Another preset whose teacher has the same settings is no second run of one cell.
    put(root, None, [[0.9], [0.9], [0.9]], settings=dataclasses.replace(plain, preset="other"))
    rows = report.rows(runs.find(root))
    keys = list(dict.fromkeys(row.key for row in rows))
    assert len(keys) == 3 and [sum(row.key == key for row in rows) for key in keys] == [3, 3, 1]
    means = [(row.mix, row.spread.mean) for row in rows if row.spread]
    assert sorted(mean for mix, mean in means if mix == canonical("soft")) == pytest.approx([30, 52])
    lifts = sorted(row.comparison.difference for row in rows if row.comparison)
    assert lifts == pytest.approx([10 / 6, 31 / 6])
    assert [mean for mix, mean in means if mix == ""] == pytest.approx([50, 50, 90])
    printed = report.report(root, tmp_path / "reports", "mini")
    assert printed.count("Mean") - printed.count("Mean:") == 3 and "differ in settings" in printed


def test_a_baseline_of_other_settings_is_named(root, tmp_path):
    """An experiment's row may be compared to a baseline that was trained otherwise: which one, its line says."""
    plain = Settings()
    faster = dataclasses.replace(plain, student=dataclasses.replace(plain.student, lr=0.02))
    cells = {name: put(root, "angle:9", SOFT, settings=settings) for name, settings in (("own", plain), ("lr", faster))}
    note_rows(root, "mini", "tried", {name: [folders[0].parent] for name, folders in cells.items()})
    (baseline,) = {record.digest for record in runs.find(root) if record.row_mix == canonical("soft")}
    lines = experiments.report(root, tmp_path / "reports", "mini", "tried").splitlines()
    noted = {line.split()[0]: line for line in lines if "no claim" in line and line.startswith(("own ", "lr "))}
    assert noted["lr"].endswith(f"the baseline has other settings, {baseline}")
    assert set(noted) == {"own", "lr"} and "other settings" not in noted["own"]


def test_runs_on_other_data_stand_in_a_table_of_their_own(tmp_path):
    """Three folds at first, four later: the training sets are not the same."""
    put(tmp_path, "soft", SOFT)
    put(tmp_path, "angle:50", [[0.5, 0.5], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5]])
    rows = report.rows(runs.find(tmp_path))
    assert len({row.key for row in rows}) == 2 and all(row.comparison is None for row in rows)
    assert any("No comparison" in note for note in report.wording.footnotes(rows))


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


HOSTILE = r"50% of #1 & a_b $x$ {y} ~z^2 \end{document} <p|q> “ü” − ± × σ"


def hostile():
    rows = ((HOSTILE, "[1, 2]", HOSTILE), ("[x]", "", ""))
    table = Table.of_texts(HOSTILE, ("a\nb", HOSTILE, "notes"), rows, prose=True)
    return Document(HOSTILE, (Section(HOSTILE, (table,)),), (HOSTILE, "[note]"))


def test_latex_is_ascii_balanced_and_escaped():
    text = latex(hostile())
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
    assert "\\item [" not in text  # it would be a label, not a note


def test_latex_leaves_out_columns_in_which_nothing_stands():
    columns = ("mix", "mean", "published", "notes")
    table = Table.of_texts("c", columns, (("a", "1", "–", ""), ("b", "–", "", "late")))
    text = tables(Document("t", (Section("s", (table,)),), ()))
    assert r"\shortstack[r]{mean}" in text and "published" not in text
    assert [line for line in text.splitlines() if line.startswith("{}")] == [r"{}a & 1 &  \\", r"{}b & -- & late \\"]


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no pdflatex here")
@pytest.mark.parametrize("kind", ["hostile", "report"])
def test_latex_compiles(kind, root, tmp_path):
    if kind == "report":
        report.report(root, tmp_path, "mini")
        around = r"\documentclass{article}\begin{document}\footnotesize\input{inner}\end{document}"
        (tmp_path / "mini" / "table.tex").rename(tmp_path / "mini" / "inner.tex")
        (tmp_path / "mini" / "table.tex").write_text(around)
    else:
        (tmp_path / "mini").mkdir()
        (tmp_path / "mini" / "table.tex").write_text(latex(hostile()))
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"],
        cwd=tmp_path / "mini",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]


def test_markdown_escapes_what_would_change_the_table():
    lines = markdown(hostile()).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 4 and {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {4}
    assert r"a\_b" in lines[0] and r"\<p\|q>" in lines[0]


def test_one_table_gives_every_output():
    """A value is one number in all of them; only its digits differ, and None is nothing everywhere."""
    columns = (
        Column("mix", of("name"), "Mix"),
        Column("share", of("result.accuracy"), "Accuracy", "%", lambda value: number(value and 100 * value)),
        Column("exact", of("result.nll"), digits=17),
        Column("", of("result.epochs"), "Epochs"),
        Column("", of("notes"), "Notes", prose=True),
    )
    third = SimpleNamespace(accuracy=1 / 3, nll=1 / 3, epochs=4)
    items = [
        SimpleNamespace(name="a", result=third, notes="one|two"),
        SimpleNamespace(name="b", result=None, notes=""),
    ]
    table = Table.build("c", columns, items)
    assert table.cells == (("a", "33.33", "4", "one|two"), ("b", "–", "–", ""))
    assert padded(table) == [
        "     Accuracy",
        "Mix         %  Epochs  Notes",
        "---  --------  ------  -------",
        "a       33.33       4  one|two",
        "b           –       –",
    ]
    document = Document("t", (Section("s", (table,)),), ())
    assert "| a | 33.33 | 4 | one\\|two |" in markdown(document) and "| :--- | ---: | ---: | :--- |" in markdown(
        document
    )
    assert r"{}a & 33.33 & 4 & one$|$two \\" in latex(document) and r"\begin{tabular}{lrrp{55mm}}" in latex(document)
    assert table.csv().splitlines() == ["mix,share,exact", f"a,0.3333333333,{1 / 3!r}", "b,,"]
    assert table.records() == [
        {"mix": "a", "share": 1 / 3, "exact": 1 / 3},
        {"mix": "b", "share": None, "exact": None},
    ]
    html = table_html(table)
    assert '<td class="l">a</td><td>33.33</td><td>4</td><td class="l w">one|two</td>' in html
    assert "<li><b>a</b>: one|two</li>" in html and "exact" not in html


def test_a_name_of_any_length_keeps_the_columns_apart():
    columns = (
        Column("mix", of("name"), "Mix"),
        Column("n", of("n"), "n"),
        Column("", of("notes"), "Notes", prose=True),
    )
    table = Table.build("c", columns, [SimpleNamespace(name="x" * 55, n=1234, notes="y" * 55)])
    assert padded(table)[1:] == [f"{'-' * 55}  ----  {'-' * 40}", f"{'x' * 55}  1234  {'y' * 55}"]


def test_csv_quotes():
    text = comma_separated(("a", "b"), [('say "x", y', None), ("line\nbreak", 1.5)])
    assert list(csv.reader(io.StringIO(text))) == [["a", "b"], ['say "x", y', ""], ["line\nbreak", "1.5"]]


NAMES = ("a&b%c_d", "-rf", "=cmd|x", "+1", "@SUM(A1)", " =1+1", "＝1+1", "Käse `x'", "two\nlines")


def test_names_of_anybodys_are_no_formulas_and_no_latex():
    rows = list(csv.reader(io.StringIO(comma_separated(("name",), [(name,) for name in NAMES]))))[1:]
    assert [row[0] for row in rows] == [
        "a&b%c_d",
        "'-rf",
        "'=cmd|x",
        "'+1",
        "'@SUM(A1)",
        "' =1+1",
        "'＝1+1",
        "Käse `x'",
        "two\nlines",
    ]
    # Numbers, the en dash of no value and a sign alone stay as they are.
    assert [inert(cell) for cell in (-1.5, 3, NONE, "-", "−0.5")] == [
        -1.5,
        3,
        NONE,
        "-",
        "−0.5",
    ]
    assert inert(inert("=1")) == "'=1"
    # Behind what is not seen; also as the name of a column.
    unseen = ("\t=1", "\r\n@x", "\x01=1", "\u200b=1", "\ufeff-1", "\u00a0+1", "\u3000＠x")
    assert [inert(cell) for cell in unseen] == [f"'{cell}" for cell in unseen]
    assert comma_separated(("=a", "b"), [("\ufeff", "x")]) == "'=a,b\n\ufeff,x\n"
    assert [latex_text(name) for name in NAMES[:3]] == [r"a\&b\%c\_d", "{-}rf", "=cmd$|$x"]
    assert latex_text("Käse é î `x'") == r"K\"{a}se \'{e} \^{{\i}} {`}x{'}" and latex_text("音") == "?"
    table = Table.of_texts("c", ("name", "n"), [(name, "1") for name in NAMES])
    text = Document("t", (Section("s", (table,)),), ())
    assert len([line for line in markdown(text).splitlines() if line.startswith("|")]) == 2 + len(NAMES)
    assert len(padded(table)) == 2 + len(NAMES)
