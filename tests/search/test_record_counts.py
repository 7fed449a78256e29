"""How many lines a search's record says that it has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.errors import Damaged
from pipeline.search import record


@pytest.mark.parametrize("count", ["many", None, [1], 2.5, True])
def test_a_line_that_counts_in_no_whole_number_is_damaged(count: object, tmp_path: Path) -> None:
    path = tmp_path / record.TRIALS
    one = record.Measured(0, 0, 1, True, {}, "ce", 0.5)
    path.write_bytes(record.written([one], "of a search"))
    assert record.read(path) == [one] and record.lost(path) == 0
    values = json.loads(path.read_bytes())
    del values[record.CHECKSUM]
    path.write_bytes(record.line_of({**values, record.COUNT: count}))
    with pytest.raises(Damaged, match=r"line 1 is damaged .lines = .*: expected a whole number"):
        record.read(path)
