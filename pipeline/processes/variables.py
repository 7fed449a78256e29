"""Variables of the environment that a library replaces by values of its own where it cannot read them."""

from __future__ import annotations

import warnings


def numba_is_strict() -> None:
    """Values of ``NUMBA_…`` that numba refuses are errors in this process, not a warning of several lines."""
    warnings.filterwarnings("error", "Environment variable 'NUMBA_.*' is defined but")
