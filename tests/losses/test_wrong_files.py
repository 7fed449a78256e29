"""A mistake in a user's own loss file: the line names the loss, not the product, and what its result should be."""

from __future__ import annotations

import concurrent.futures.process
from pathlib import Path

import pytest
import torch

from pipeline.commands.errors import fault
from pipeline.config import InputError
from pipeline.losses import LossMix, Outputs, mixed_loss
from tests.written import written

HEAD = 'READS = ("logits",)\nTEACHER = ()\n\n\ndef wrong(student, teacher, labels):\n    '
OUTPUTS = Outputs({"logits": torch.zeros(2, 4, 3)})
LABELS = torch.zeros(2, 4, dtype=torch.int64)


@pytest.mark.parametrize(
    ("body", "given"),
    [
        ("return student.logits.mean()", r"a tensor of shape \(\)"),
        ("return student.logits.mean(-1)", r"a tensor of shape \(2, 4\)"),
        ("return None", "NoneType"),
        ("return 0.5", "float"),
    ],
)
def test_a_result_that_is_not_one_value_per_run_is_refused(tmp_path: Path, body: str, given: str) -> None:
    with written(tmp_path, {"losses/wrong.py": HEAD + body + "\n"}):
        with pytest.raises(InputError, match=f"loss wrong gave {given} for 2 runs"):
            mixed_loss([LossMix.parse("wrong,soft:0")] * 2)(OUTPUTS, None, LABELS)
        with pytest.raises(InputError, match="expected one value per run"):  # one of two runs has it
            mixed_loss([LossMix.parse("wrong,soft:0"), LossMix.parse("ce")])(OUTPUTS, None, LABELS)


@pytest.mark.parametrize(
    ("body", "kind"), [("return student.nothing", "AttributeError"), ("return labels + 'a'", "TypeError")]
)
def test_an_exception_in_a_loss_file_names_the_loss(tmp_path: Path, body: str, kind: str) -> None:
    with written(tmp_path, {"losses/wrong.py": HEAD + body + "\n"}):
        with pytest.raises(Exception) as caught:
            mixed_loss([LossMix.parse("wrong,soft:0")] * 2)(OUTPUTS, None, LABELS)
        line = fault(caught.value)
    assert line.startswith("the loss wrong failed") and kind in line and "wrong.py" in line
    assert "fault of ours" not in line and "\n" not in line and "the traceback is in" in line
    Path(line.split("the traceback is in ")[1].split(";")[0]).unlink()


def test_an_exception_in_another_process_names_the_loss_too(tmp_path: Path) -> None:
    """Of its traceback only the text comes back."""
    with written(tmp_path, {"losses/wrong.py": HEAD + "return labels + 'a'\n"}):
        with pytest.raises(TypeError) as caught:
            mixed_loss([LossMix.parse("wrong,soft:0")] * 2)(OUTPUTS, None, LABELS)
        remote = concurrent.futures.process._ExceptionWithTraceback(caught.value, caught.value.__traceback__)
        make, arguments = remote.__reduce__()
        line = fault(make(*arguments).with_traceback(None))
    assert line.startswith("the loss wrong failed") and " at wrong.py:" in line
    Path(line.split("the traceback is in ")[1].split(";")[0]).unlink()


def test_a_loss_file_that_cannot_be_imported_is_named(tmp_path: Path) -> None:
    with written(tmp_path, {"losses/wrong.py": "import nothing_of_this_name\n" + HEAD + "return 0\n"}):
        with pytest.raises(ModuleNotFoundError) as caught:
            mixed_loss([LossMix.parse("wrong,soft:0")])
        line = fault(caught.value)
    assert line.startswith("the loss wrong failed") and "nothing_of_this_name" in line and " at wrong.py:1" in line
    Path(line.split("the traceback is in ")[1].split(";")[0]).unlink()


def test_where_no_file_can_be_read_the_line_is_there_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> tuple[str, ...]:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("pipeline.losses.names", refused)
    line = fault(ValueError("of something else"))
    assert line.startswith("this is a fault of ours: ValueError") and "\n" not in line
    Path(line.split("the traceback is in ")[1].split(". Please")[0]).unlink()
