"""What every loss of the folder must hold, whatever it reads: shapes and runs, gradients, hostile inputs, order, minimum.

The inputs come from what a file says (READS, TEACHER, adapter, DRAWS) alone, so a file that is added is tested here without
another line; ``test_own_files`` does so with files that it writes. A loss's own oracle stands in the test of its kind.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from pipeline import losses
from pipeline.losses import LossMix, library
from tests.losses import terms
from tests.losses.checks import CHECKS
from tests.losses.terms import inputs, value


@pytest.mark.parametrize("name", losses.names())
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_every_term(check: Callable[[str], None], name: str) -> None:
    check(name)


@pytest.mark.parametrize("name", losses.names())
def test_every_file_says_what_it_is(name: str) -> None:
    formula, source = (library.constant(name, which, "") for which in ("FORMULA", "SOURCE"))
    assert formula and "\n" not in formula and source and "\n" not in source
    assert library.constant(name, "READS", None) is not None and library.constant(name, "TEACHER", None) is not None
    assert name in losses.named(library.constant(name, "MIX", name)), "MIX is the published combination"
    assert math.isfinite(library.constant(name, "WEIGHT", 1.0)) and name in LossMix.parse(name).explain()


@pytest.mark.parametrize("name", losses.names())
def test_none_is_computed_in_half_precision(name: str) -> None:
    given = inputs(2, 4, seed=11)
    for dtype in (torch.float16, torch.bfloat16):
        half = given
        for side in ("student", "teacher"):
            half = half.changed(side, lambda _, v: v.to(dtype))  # noqa: B023
        expected = value(
            name, half.changed("student", lambda _, v: v.double()).changed("teacher", lambda _, v: v.double())
        )
        with torch.autocast("cpu", dtype=torch.bfloat16):
            values = value(name, half)
        assert values.dtype == torch.float32
        if terms.about(name)[3] is None:  # else what the adapter says was rounded
            torch.testing.assert_close(values.double(), expected, rtol=1e-5, atol=1e-6)
