"""CUDA graphs of a step, where there is no GPU: a stand-in that runs, at the right moments, what a card would run."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.training import loop
from pipeline.training.graphs import graphed_step
from tests.trainings import assert_equal, fit, made_up, run_of


class Stream:
    def wait_stream(self, other: Any) -> None:
        pass


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Replaces what a card does. A capture runs ``take`` too, where a card only records it; its state is put back."""
    memories: list[Any] = []

    def capture(graph: Any, pool: Any = None) -> contextlib.AbstractContextManager[None]:
        memories.append(pool)
        return contextlib.nullcontext()

    for name, value in {
        "Stream": Stream,
        "current_stream": Stream,
        "stream": lambda stream: contextlib.nullcontext(),
        "CUDAGraph": lambda: SimpleNamespace(replay=None),
        "graph": capture,
        "graph_pool_handle": object,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    return memories


def test_every_warm_up_is_the_step_that_comes_next(graphs: list[Any]) -> None:
    counter, weights = torch.tensor([4]), torch.tensor([1.0, 2.0])
    seen = []

    def take() -> None:
        seen.append((int(counter), weights.tolist()))
        counter.add_(1)
        weights.mul_(3)

    graphed_step(take, [counter, weights])
    assert seen == [(4, [1.0, 2.0])] * 4
    assert int(counter) == 4 and weights.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("counts", [(40, 40), (40, 32), (40, 24), (8, 16), (8, 8)])
def test_epochs_of_any_length_are_captured_and_change_no_number(
    graphs: list[Any], counts: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where one step is left for a capture: one before the end, one masked, one in all."""
    data = made_up()
    runs = [run_of("angle,area", fold, count=count) for fold, count in enumerate(counts, 1)]
    plain = fit(data, runs, layout="vmap")

    def replayed(take: Callable[[], None], written: list[Tensor], memory: Any) -> Callable[[], None]:
        graphed_step(take, written, memory)
        return take

    class Graphed(loop.Loop):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            self.graphed = True

    monkeypatch.setattr(loop, "graphed_step", replayed)
    monkeypatch.setattr(sys.modules["pipeline.training.fit"], "Loop", Graphed)
    for one, other in zip(fit(data, runs, layout="vmap"), plain):
        assert_equal(one, other)
    assert len(graphs) == len(set(counts)) and len(set(graphs)) == 1  # one memory for both graphs
