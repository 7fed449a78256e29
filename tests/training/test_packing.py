"""Pack size and layout: what is asked for is kept, what is chosen changes no number, what does not fit is halved."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from pipeline.config import InputError
from pipeline.training import Run, Trained, packing
from tests.trainings import CLASSES, QUICK, assert_equal, fit, made_up, run_of


@pytest.fixture(scope="module")
def data() -> Any:
    return made_up()


def seeds(count: int) -> list[Run]:
    return [run_of("angle,area", seed=seed) for seed in range(count)]


@pytest.mark.parametrize(
    ("items", "pack", "sizes"),
    [(9, 4, [3, 3, 3]), (10, 4, [3, 3, 4]), (4, 4, [4]), (5, 1, [1] * 5), (3, 90, [3]), (0, 4, [])],
)
def test_split(items: int, pack: int, sizes: list[int]) -> None:
    packs = packing.split(range(items), pack)
    assert [i for part in packs for i in part] == list(range(items))
    assert [len(part) for part in packs] == sizes


@pytest.mark.parametrize(
    ("items", "pack", "processes", "sizes"),
    [(9, 4, 2, [2, 2, 2, 3]), (12, 4, 2, [3, 3, 3, 3]), (15, 4, 2, [3, 4, 4, 4]), (3, 4, 4, [1, 1, 1]), (0, 4, 2, [])],
)
def test_no_process_waits_for_the_last_pack_of_another(items: int, pack: int, processes: int, sizes: list[int]) -> None:
    packs = packing.split(range(items), pack, 1, processes)
    assert [i for part in packs for i in part] == list(range(items))
    assert [len(part) for part in packs] == sizes
    of_two = packing.split(range(12), 4, 2, 4)  # two that learn from each other stay together
    assert [len(part) for part in of_two] == [2, 4, 2, 4]


def test_the_choice_is_measured_and_says_so(data: Any) -> None:
    samples, labels, teacher = data
    runs = seeds(5)
    before = samples.clone(), torch.get_num_threads(), torch.random.get_rng_state()
    choice = packing.choose(samples, labels, runs, QUICK, classes=CLASSES, teaching=teacher, seconds=0.3)
    assert torch.equal(samples, before[0]) and torch.get_num_threads() == before[1]
    assert torch.equal(torch.random.get_rng_state(), before[2])
    assert 1 <= choice.pack <= 5 and choice.device == "cpu"
    # The only layout whose bits are the same in packs of any size: a stopwatch must not decide on numbers.
    assert choice.layout == "loop" and {name.split(" × ")[0] for name in choice.measured} == {"loop"}
    assert choice.measured[f"{choice.layout} × {choice.pack}"] >= 0.9 * max(choice.measured.values())
    assert f"packs of {choice.pack} runs in layout {choice.layout} on cpu" in str(choice)


def test_what_is_asked_for_is_kept(data: Any) -> None:
    samples, labels, teacher = data
    ask = lambda **wishes: packing.choose(
        samples, labels, seeds(4), QUICK, classes=CLASSES, teaching=teacher, seconds=0.1, **wishes
    )
    choice = ask(pack=3, layout="vmap")
    assert (choice.pack, choice.layout, choice.measured) == (3, "vmap", {})
    assert ask(pack=3).pack == 3 and ask(pack=90).pack == 4
    assert ask(layout="vmap").layout == "vmap"
    for wrong in ({"pack": 0}, {"layout": "ring"}, {"layout": "grouped"}, {"layout": "bmm"}):
        with pytest.raises(InputError, match="expected"):
            ask(**wrong)


def test_memory_limits_the_pack(data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    samples, labels, teacher = data
    ask = lambda: packing.choose(
        samples, labels, seeds(6), QUICK, classes=CLASSES, teaching=teacher, layout="loop", seconds=0.1
    )
    each = ask().bytes_per_run
    # What a step keeps at least: both convolutions' inputs and outputs, and the weights with all their copies.
    activations = 8 * (2 * 128 + 32 * 128 + 32 * 32 + 16 * 32) * 4
    assert 2 * activations < each < 20 * activations
    monkeypatch.setattr(packing, "free_memory", lambda device: int(3.5 * each / packing.SHARE))
    limited = ask()
    assert limited.pack <= 3 and all(int(name.split(" × ")[1]) <= 3 for name in limited.measured)
    monkeypatch.setattr(packing, "free_memory", lambda device: 1)
    assert ask().pack == 1


def test_what_teachers_say_and_the_runs_share_one_budget(data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for free, of_teacher, teachers, most in (
        (100, 0, 0, 10),
        (100, 10, 1, 9),  # the arrays of the one teacher, and nine runs
        (100, 10, 5, 5),
        (100, 10, 9, 5),  # every run may bring another teacher
        (100, 90, 1, 1),
        (100, 95, 1, 1),  # nothing is left: a run at least, and what does not fit is halved or refused
        (1, 0, 0, 1),
    ):
        assert packing.Budget(free, of_teacher, teachers).runs(10) == most, (free, of_teacher, teachers)
    samples, labels, teacher = data
    how = {"classes": CLASSES, "teaching": teacher, "layout": "loop", "seconds": 0.1}
    each = packing.choose(samples, labels, seeds(6), QUICK, **how).bytes_per_run
    memory = packing.Budget(int(3.5 * each), of_teacher=each, teachers=1)
    limited = packing.choose(samples, labels, seeds(6), QUICK, memory=memory, **how)
    assert limited.pack <= 2 and all(int(name.split(" × ")[1]) <= 2 for name in limited.measured)
    monkeypatch.setattr(packing, "free_memory", lambda device: 1000)
    assert packing.budget(samples[:0], 1).free == 600
    assert packing.budget(samples, 3).free == 200 - samples.nbytes  # each process has the samples for itself


def test_free_memory_is_that_of_this_machine() -> None:
    assert 1 << 28 <= packing.free_memory(torch.device("cpu")) < 1 << 46


@pytest.mark.parametrize("fits", [4, 2, 1])
def test_a_pack_that_does_not_fit_is_halved(fits: int) -> None:
    taken: list[list[int]] = []
    messages: list[str] = []

    def train(items: list[int]) -> list[str]:
        if len(items) > fits:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        taken.append(items)
        return [f"run {item}" for item in items]

    assert packing.in_halves(train, range(7), messages.append) == [f"run {i}" for i in range(7)]
    assert [i for items in taken for i in items] == list(range(7)) and max(map(len, taken)) <= fits
    assert messages[0] == "out of memory with 7 runs in a pack: going on with packs of 3 and 4"


def test_a_run_that_does_not_fit_alone_is_one_clear_line() -> None:
    def train(items: list[int]) -> list[int]:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(InputError, match="out of memory with a single run"):
        packing.in_halves(train, [1, 2], lambda line: None)


def test_lack_of_memory_while_measuring_is_halved_too_and_one_line_at_last(
    data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples, labels, teacher = data
    fits = 2

    def speed(pack: Any, seconds: float) -> float:
        if pack.learner.runs > fits:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        return 1.0

    monkeypatch.setattr(packing, "speed", speed)
    how = {"classes": 3, "teaching": teacher}
    assert packing.choose(samples, labels, seeds(5), QUICK, **how).pack <= 2
    fits = 0
    with pytest.raises(InputError, match="out of memory with a single run"):
        packing.choose(samples, labels, seeds(5), QUICK, **how)


def test_packs_change_no_number(data: Any) -> None:
    """Five runs as packs of 1, 2 and 2 and with an injected lack of memory are the five in one pack, bit for bit."""
    runs, settings, sizes = seeds(5), dataclasses.replace(QUICK, epochs=1), []

    def train(pack: list[Run]) -> list[Trained]:
        sizes.append(len(pack))
        if len(pack) > 1 and pack[0].seed == 1:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return fit(data, pack, settings)

    trained = [one for pack in packing.split(runs, 2) for one in packing.in_halves(train, pack, lambda line: None)]
    assert sizes == [1, 2, 1, 1, 2]
    for one, other in zip(fit(data, runs, settings), trained):
        assert_equal(one, other)


def test_packs_of_few_runs_are_chosen_without_a_clock(data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as a process is to have; more than that, what is to be timed, and what did not fit are timed as before."""
    samples, labels, teacher = data
    timed: list[int] = []
    monkeypatch.setattr(packing, "speed", lambda pack, seconds: timed.append(pack.learner.runs) or 1.0)
    ask = lambda count, **how: packing.choose(
        samples, labels, seeds(count), QUICK, classes=CLASSES, teaching=teacher, **how
    )
    choice = ask(6, most=3)
    assert (choice.pack, choice.layout, choice.measured, timed) == (3, "loop", {}, [])
    assert str(choice) == "packs of 3 runs in layout loop on cpu"
    assert ask(4).pack == 4 and ask(2, most=3).pack == 2 and not timed
    assert str(ask(6, pack=2, layout="loop")).endswith(" on cpu, as asked") and not timed
    assert ask(6, most=5).pack == 5 and timed[-1] == 5 and max(timed) == 5
    timed.clear()
    assert ask(6, most=3, measure=True).pack == 3 and timed[-1] == 3
