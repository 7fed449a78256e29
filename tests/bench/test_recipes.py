"""What ``bench.recipes`` compares, and the table that it writes; the whole of it is run by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from bench import killed, recipes, recipes_table
from pipeline.experiments import files


def run_at(folder: Path, weight: float) -> None:
    folder.mkdir(parents=True)
    torch.save({"state": {"conv1.weight": torch.tensor([1.0, weight])}}, folder / "model.pt")
    np.savez(folder / "predictions.npz", logits=np.zeros((2, 3)))
    (folder / "metrics.jsonl").write_text('{"epoch": 1, "loss": 0.5, "seconds": 1.0}\n')


def test_a_weight_of_another_bit_is_seen_and_a_run_that_is_missing(tmp_path: Path) -> None:
    one, other, run = tmp_path / "alone", tmp_path / "killed", Path("runs/toy/student/fold1-seed0")
    run_at(one / run, 0.1)
    run_at(other / run, 0.1)
    assert killed.differing(one, other, [run]) == []
    (other / run / "metrics.jsonl").write_text('{"epoch": 1, "loss": 0.5, "seconds": 7.0}\n')
    assert killed.differing(one, other, [run]) == []  # time differs from run to run
    torch.save(
        {"state": {"conv1.weight": torch.tensor([1.0, np.nextafter(np.float32(0.1), 1)])}}, other / run / "model.pt"
    )
    assert killed.differing(one, other, [run]) == [f"{run}/model.pt"]
    assert killed.differing(one, other, [Path("absent")]) == [f"absent/{name}" for name in killed.FILES]


def test_every_recipe_is_run_or_named_as_left_out() -> None:
    assert set(recipes.LEFT_OUT) | set(recipes.OWN) <= set(files.titles())
    assert all(name in (recipes.__doc__ or "") for name in recipes.LEFT_OUT)


def test_the_table_replaces_its_own_section_and_nothing_else(tmp_path: Path) -> None:
    document = tmp_path / "recipes.md"
    document.write_text("# The recipes\n\nfirst\n\n## What to know\n\nlast\n")
    recipes_table.put(document, f"{recipes_table.HEADING}\n\nold\n")
    recipes_table.put(document, f"{recipes_table.HEADING}\n\nnew\n")
    assert (
        document.read_text() == f"# The recipes\n\nfirst\n\n## What to know\n\nlast\n\n{recipes_table.HEADING}\n\nnew\n"
    )
    document.write_text(document.read_text() + "\n## Behind\n\nit\n")
    recipes_table.put(document, f"{recipes_table.HEADING}\n\nnewer\n")
    assert document.read_text().endswith(f"{recipes_table.HEADING}\n\nnewer\n\n## Behind\n\nit\n")


def test_a_row_says_how_often_it_was_killed_and_what_differs() -> None:
    same = {"kills": ["a", "b", "c"], "compared": 4, "different": []}
    assert recipes_table.bits(same) == "yes (4 runs)"
    assert recipes_table.bits(same | {"kills": ["a"]}) == "yes (4 runs, after 1 kill)"
    assert recipes_table.bits(same | {"different": ["x/model.pt"]}) == "**no** (x/model.pt)"


def test_what_stands_beside_is_of_the_presets_own_teacher_whatever_recipes_trained(tmp_path: Path) -> None:
    """A recipe's generation on labels is a teacher too, and ``soft`` is taught by a smoothed one."""
    (tmp_path / "reports" / "toy").mkdir(parents=True)
    lines = [
        "settings,role,mix,model,n,at_chance,mean_percent,sd_folds",
        "own,teacher,,resnet18,3,0,28.0,1.0",
        "own,student,soft:1,cnn2,3,0,29.0,1.0",
        "own,student,ce:1,cnn2,3,0,53.0,1.0",
        "smooth,teacher,,resnet18,3,0,35.0,1.0",
        "smooth,student,soft:1,cnn2,3,0,37.0,1.0",
        "self,teacher,,cnn2,3,0,53.0,1.0",
        "self,student,ce:1,cnn2,3,0,54.0,1.0",
    ]
    (tmp_path / "reports" / "toy" / "table.csv").write_text("\n".join(lines) + "\n")
    beside = recipes_table.baselines(tmp_path, "toy")
    assert [(row["model"], row["mean_percent"]) for row in beside] == [("resnet18", 28), ("cnn2", 53), ("cnn2", 29)]
