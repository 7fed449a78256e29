"""Samples that stay in their files: a tensor as far as training reads one, by rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pipeline.config import InputError

if TYPE_CHECKING:
    from pipeline.cache import OnDisk

#: So many steps before it is taken the rows of a step are asked for.
STEPS_AHEAD = 16


class FromFiles(Tensor):
    """Samples (rows, C, H, W) on the CPU without memory of their own: rows that are taken of them are read, and ordinary tensors.

    ``samples[rows]`` and ``samples.index_select(0, rows)`` are all that there is: anything else would read the whole.
    """

    features: OnDisk

    @staticmethod
    def __new__(cls, features: OnDisk, dtype: torch.dtype) -> FromFiles:
        clips, views, *each = features.shape
        whole: FromFiles = Tensor._make_wrapper_subclass(cls, (clips * views, *each), dtype=dtype)  # type: ignore[attr-defined]
        whole.features = features
        return whole

    # What is done with it is known by the operations that torch makes of it; its functions need no treatment of their own.
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, operation: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Tensor:
        rows = None
        if operation is torch.ops.aten.index_select.default and args[1] == 0:
            rows = args[2]
        elif operation is torch.ops.aten.index.Tensor and len(args[1]) == 1:
            (rows,) = args[1]
        elif operation in (torch.ops.aten.detach.default, torch.ops.aten.alias.default):
            return args[0]  # type: ignore[no-any-return]
        if rows is None or not isinstance(args[0], FromFiles):
            raise TypeError(f"{operation} of samples that stay in their files; expected rows of them")
        return args[0].read(rows.numpy())

    def read(self, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(self.features.rows(rows)).to(self.dtype)

    def __repr__(self) -> str:  # type: ignore[override]
        return f"FromFiles{tuple(self.shape)}"


def read_ahead(samples: Tensor, rows: Tensor, step: int) -> None:
    """Ask for what a later step will read: ``rows`` (steps, R, B) of an epoch, ``step`` the one that comes next."""
    if not isinstance(samples, FromFiles):
        return
    later = step + STEPS_AHEAD
    if later < len(rows):
        samples.features.ahead(np.sort(rows[later].numpy(), axis=None))


def check(samples: Tensor, rows: np.ndarray) -> None:
    """``InputError`` where rows are not what was written: what lies in memory was looked at when it was read."""
    if isinstance(samples, FromFiles):
        samples.features.check(rows // samples.features.shape[1])


def on_device(features: OnDisk, device: torch.device, dtype: torch.dtype, chunk: int = 64) -> Tensor:
    """All rows as a tensor: on the CPU as they lie in their files, of a GPU's memory chunk by chunk, so that they are never in the machine's.

    ``InputError`` where the GPU does not hold them.
    """
    samples = FromFiles(features, dtype)
    if device.type == "cpu":
        return samples
    try:
        whole = torch.empty(samples.shape, dtype=dtype, device=device)
    except torch.OutOfMemoryError:
        raise InputError(
            f"{samples.numel() * dtype.itemsize / 1e9:.1f} GB of features do not fit into the memory of {device}; expected a device with "
            "more, data = 'bfloat16', or the device cpu, which reads them from their files"
        ) from None
    for rows in np.split(np.arange(len(samples)), range(chunk, len(samples), chunk)):
        whole[int(rows[0]) : int(rows[-1]) + 1] = samples.read(rows).to(device)
    return whole
