"""librosa's constant-Q filters, built once per process: nine tenths of what the plain features of a clip cost."""

from __future__ import annotations

from typing import Any

import numpy as np


def keep_filters() -> None:
    """Let librosa's ``__vqt_filter_fft`` remember: to the very same arguments, copies of the very arrays that it built for them.

    librosa itself counts them among what may be cached (``@cache(level=10)``: bases that no sound has a part in).
    """
    from librosa.core import constantq

    name, kept = "__vqt_filter_fft", {}
    build = getattr(constantq, name)

    def remembered(*args: Any, **kwargs: Any) -> tuple[Any, int, np.ndarray]:
        given = (*enumerate(args), *sorted(kwargs.items()))
        key = tuple((k, v.dtype.str, v.shape, v.tobytes()) if isinstance(v, np.ndarray) else (k, v) for k, v in given)
        if key not in kept:
            kept[key] = build(*args, **kwargs)
        basis, n_fft, lengths = kept[key]
        return basis.copy(), n_fft, lengths.copy()  # librosa.vqt scales the basis in place

    setattr(constantq, name, remembered)
