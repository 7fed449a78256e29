"""Products with sparse matrices by scipy's own compiled loop, without importing scipy.sparse, which takes half a second."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Rows:
    """A matrix without its zeros, row by row (CSR)."""

    starts: np.ndarray
    """(row + 1,) int32: where each row begins in the other two."""
    columns: np.ndarray
    """(value,) int32."""
    values: np.ndarray
    """(value,) complex64."""
    width: int


def rows_of(dense: np.ndarray) -> Rows:
    """As ``scipy.sparse.csr_matrix(dense)``."""
    row, column = np.nonzero(dense)
    starts = np.concatenate([[0], np.bincount(row, minlength=len(dense)).cumsum()])
    return Rows(starts.astype(np.int32), column.astype(np.int32), dense[row, column], dense.shape[1])


def product(matrix: Rows, scale: np.float64, x: np.ndarray) -> np.ndarray:
    """(row, k) complex64 of ``x`` (column, k) complex64: ``(scale * csr_matrix) @ x``, bit for bit."""
    scaled = matrix.values.copy()
    scaled *= scale
    height = len(matrix.starts) - 1
    out = np.zeros((height, x.shape[1]), np.complex64)
    flat = np.ascontiguousarray(x).ravel()
    loop()(height, matrix.width, x.shape[1], matrix.starts, matrix.columns, scaled, flat, out.ravel())
    return out


@cache
def loop() -> Callable[..., Any]:
    """scipy's ``csr_matvecs``, from its file; where that lies elsewhere, or is not to be loaded so, from scipy.sparse."""
    with suppress(ImportError, AttributeError, TypeError):
        package = importlib.util.find_spec("scipy")
        assert package is not None and package.origin is not None
        for suffix in importlib.machinery.EXTENSION_SUFFIXES:
            path = Path(package.origin).parent / "sparse" / f"_sparsetools{suffix}"
            if path.is_file():
                spec = importlib.util.spec_from_file_location("_sparsetools", path)
                assert spec is not None and spec.loader is not None
                module = importlib.util.module_from_spec(spec)
                spec.loader.exec_module(module)
                return module.csr_matvecs  # type: ignore[no-any-return]
    from scipy.sparse import _sparsetools

    return _sparsetools.csr_matvecs  # type: ignore[no-any-return]
