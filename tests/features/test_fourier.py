"""Fourier transforms without torch's import and sparse products without scipy.sparse's: the same bits, from any thread, and the
libraries' own functions where theirs cannot be had so."""

from __future__ import annotations

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.fft
import scipy.sparse
import torch

from pipeline.features import fourier, sparse, transforms
from pipeline.features.vectors import overlapping


def sound(samples: int, dtype: type) -> np.ndarray:
    out = fourier.aligned((samples,), dtype)
    out[...] = np.random.default_rng(samples).standard_normal(samples)
    return out


def transformed(frames: np.ndarray) -> np.ndarray:
    kind = np.result_type(frames, np.complex64).type
    return fourier.rfft(frames, fourier.aligned((len(frames), 1 + frames.shape[1] // 2), kind)).copy()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("rows", "size", "hop"), [(5, 2048, 512), (1, 1000, 7), (3, 401, 401), (9, 64, 16), (0, 8, 8)])
def test_the_bits_are_torchs_also_of_frames_that_overlap(rows: int, size: int, hop: int, dtype: type) -> None:
    frames = overlapping(sound(rows * hop + size, dtype), hop, size, rows)
    ours = transformed(frames)
    theirs = torch.fft.rfft(torch.from_numpy(frames.copy())).numpy() if rows else np.empty(ours.shape)
    np.testing.assert_array_equal(ours, theirs)


def test_threads_do_not_meet_and_a_plan_ends_with_its_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    sounds = [overlapping(sound(6000 + i, np.float64), 64, 1024, 40) for i in range(8)]
    alone = [transformed(frames) for frames in sounds]
    monkeypatch.setattr(fourier, "KEPT_PLANS", 2)
    plans = weakref.WeakSet()  # type: ignore[var-annotated]

    def at_once(frames: np.ndarray) -> np.ndarray:
        for rows in (1, 2, 3, len(frames)):  # more than are kept
            values = transformed(frames[:rows])
        plans.update(fourier.own.plans.values())
        return values

    with ThreadPoolExecutor(3) as pool:
        for ours, expected in zip(pool.map(at_once, sounds), alone, strict=True):
            np.testing.assert_array_equal(ours, expected)
    gc.collect()
    assert not plans


def test_without_mkl_torchs_function_is_taken_and_without_torch_scipys(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = overlapping(sound(3000, np.float32), 100, 256, 20)
    ours = transformed(frames)
    monkeypatch.setattr(fourier, "mkl", lambda: None)
    np.testing.assert_array_equal(transformed(frames), ours)
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    np.testing.assert_array_equal(transformed(frames), scipy.fft.rfft(frames))
    np.testing.assert_allclose(ours, scipy.fft.rfft(frames), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("content", [None, b"no library"])
def test_a_library_that_is_not_there_or_none_is_passed_over(content: bytes | None, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "lib").mkdir()
    if content is not None:
        (tmp_path / "lib" / "libtorch_cpu.so").write_bytes(content)
    module = type("Spec", (), {"origin": str(tmp_path / "__init__.py")})
    monkeypatch.setattr(fourier, "find_spec", lambda name: module)
    assert fourier.mkl.__wrapped__() is None


def test_scratch_is_the_threads_own_and_no_more_than_it_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    first = fourier.scratch("of a test", (3, 5), np.float64)
    assert fourier.address(first) % fourier.BOUNDARY == 0 and first.shape == (3, 5)
    assert fourier.address(fourier.scratch("of a test", (2, 5), np.complex64)) == fourier.address(first)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(fourier.scratch, "of a test", (3, 5), np.float64).result()
    assert fourier.address(other) != fourier.address(first)
    monkeypatch.setattr(fourier, "KEPT_BYTES", 100)
    large = fourier.scratch("of a test", (99,), np.float64)
    assert large.shape == (99,) and len(fourier.own.arrays["of a test"]) < 200


@pytest.mark.parametrize("frames", [1, 3, 64])
def test_sparse_products_are_scipys_bit_for_bit_with_its_loop_from_either_place(frames: int, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    draws = np.random.default_rng(frames)
    dense = draws.standard_normal((9, 60)).astype(np.float32).view(np.complex64)
    dense[draws.random(dense.shape) < 0.6] = 0
    dense[4] = 0
    x = draws.standard_normal((30, 2 * frames)).astype(np.float32).view(np.complex64)
    scaled = scipy.sparse.csr_matrix(dense)
    scaled.data *= np.sqrt(2.0)
    uncached = sparse.loop.__wrapped__
    for suffixes in (sparse.importlib.machinery.EXTENSION_SUFFIXES, []):
        monkeypatch.setattr(sparse.importlib.machinery, "EXTENSION_SUFFIXES", suffixes)
        monkeypatch.setattr(sparse, "loop", uncached)
        np.testing.assert_array_equal(sparse.product(sparse.rows_of(dense), np.sqrt(2.0), x), scaled @ x)


def test_the_oldest_numpy_and_soxr_that_are_taken_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """numpy 1 has other transforms than scipy, and soxr 0.3 streams that cannot be used twice."""
    y, frames = sound(5001, np.float32), sound(1024, np.float64).reshape(2, 512)
    halves, spectrum = transforms.halved(y), transforms.scipys_rfft(frames)
    np.testing.assert_array_equal(spectrum, scipy.fft.rfft(frames))
    monkeypatch.setattr(np, "__version__", "1.26.4")
    monkeypatch.setattr(np.fft, "rfft", None)
    monkeypatch.setattr(transforms.soxr, "ResampleStream", object)
    np.testing.assert_array_equal(transforms.halved(y), halves)
    np.testing.assert_array_equal(transforms.scipys_rfft(frames), spectrum)
