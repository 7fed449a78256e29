"""What a network listens to: every worked value, plain loops beside the arrays, and a network whose answer is known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.explaining import objective
from pipeline import models
from pipeline.config import FeatureSpec, InputError
from pipeline.figures.explained import concepts, discarded, foreground
from pipeline.models import Network, Outputs

SPEC = FeatureSpec()


def test_the_worked_values() -> None:
    for sigma, value in ((0.01, -3.1862316528), (0.1, -0.8836465598), (1.0, 1.4189385332)):
        assert concepts.entropy(sigma) == pytest.approx(value, abs=1e-10)
    assert math.exp(-2.8 - concepts.UNIT) == pytest.approx(0.0147142549, abs=1e-10)
    h = torch.tensor([[-2.9, -2.7]], dtype=torch.float64)
    value = objective(torch.tensor([0.04]), torch.tensor([0.02]), h, 7.0)
    assert value.item() == pytest.approx(21.6)


def test_counts_of_the_worked_clips() -> None:
    h = np.array([[[-3.0, -1, -2]], [[-1.5, -0.5, -4]]])
    sound = np.array([[[1, 0, 1]], [[0, 0, 1]]], dtype=bool)
    counted = concepts.counts(h, sound, np.ones_like(sound))
    assert counted.background == pytest.approx(-1)
    assert counted.fg.sum() == 3 and counted.bg.sum() == 1  # 2, 1 in sound; 0, 1 in background
    assert (counted.n_fg, counted.n_bg) == (1.5, 0.5) and counted.share == pytest.approx(0.75)


def test_learning_of_the_worked_clips() -> None:
    moved = concepts.travelled([{"a": 0.5}, {"a": 0.2}, {"a": 0.1}], {"a": 1.0})
    far = concepts.distances(np.array([[1, 4, 3], [2, 2, 5]]), moved)
    assert far == pytest.approx([0.7, 0.8]) and far.mean() == pytest.approx(0.75) and far.var() == pytest.approx(0.0025)
    sets = np.zeros((3, 1, 5), dtype=bool)
    for epoch, members in enumerate(((1, 2), (2, 3, 4), (2, 4))):
        sets[epoch, 0, list(members)] = True
    assert concepts.stability(sets) == pytest.approx(0.5)


def test_counts_are_those_of_plain_loops() -> None:
    random = np.random.default_rng(0)
    h, sound = random.normal(-2.8, 0.4, (4, 3, 5)), random.random((4, 3, 5)) < 0.4
    counting = random.random((4, 3, 5)) < 0.8
    behind = [h[i] for i in np.ndindex(h.shape) if counting[i] and not sound[i]]
    mean, shares, inside, outside = sum(behind) / len(behind), [], [], []
    for clip in range(4):
        fg = bg = 0
        for at in np.ndindex(3, 5):
            if counting[clip][at] and mean - h[clip][at] > 0.2:
                fg, bg = fg + sound[clip][at], bg + (not sound[clip][at])
        inside.append(fg)
        outside.append(bg)
        if fg + bg:
            shares.append(fg / (fg + bg))
    counted = concepts.counts(h, sound, counting)
    assert counted.background == pytest.approx(mean) and list(counted.fg) == inside and list(counted.bg) == outside
    assert counted.share == pytest.approx(sum(shares) / len(shares))


def test_clips_without_what_is_counted_are_left_out() -> None:
    flat = np.full((2, 1, 3), -2.8)
    sound = np.array([[[1, 0, 0]], [[0, 0, 1]]], dtype=bool)
    everywhere = np.ones_like(sound)
    nothing = concepts.counts(flat, sound, everywhere)
    assert nothing.share is None and nothing.n_fg == 0
    assert concepts.learning([nothing, nothing], sound, np.array([1.0, 2.0])) == (None, None, None)
    flat[0, 0, 0] = -4
    some = concepts.counts(flat, sound, everywhere)
    assert some.share == 1.0
    assert concepts.learning([nothing, some], sound, np.array([0.5, 2.0])) == (2.0, 0.0, 1.0)
    assert concepts.learning([some], sound, None) == (None, None, 1.0)
    with pytest.raises(ValueError, match="background"):
        concepts.counts(flat, everywhere, everywhere)
    flat[1, 0, 1] = 5.0  # of an output that does not move: neither a concept nor part of the background
    dead = concepts.counts(flat, sound, everywhere, moving=np.array([True, False]))
    assert dead.background == pytest.approx(-2.8) and list(dead.fg) == [1, 0] and not dead.concepts[1].any()
    assert not concepts.counts(flat, sound, everywhere, moving=np.zeros(2, bool)).concepts.any()


def test_distance_of_several_tensors_is_that_of_all_weights_as_one() -> None:
    random = np.random.default_rng(1)
    weights = [
        {"a": random.normal(size=4), "b": random.normal(size=(2, 3)), "c": random.normal(size=2)} for _ in range(4)
    ]
    steps = [{k: float(np.linalg.norm(now[k] - old[k])) for k in now} for old, now in itertools.pairwise(weights)]
    first = {k: float(np.linalg.norm(v)) for k, v in weights[0].items()}
    for names in (None, ("a", "b")):
        flat = [np.concatenate([w[k].ravel() for k in names or w]) for w in weights]
        expected, total = [], 0.0
        for old, now in itertools.pairwise(flat):
            total += float(np.linalg.norm(now - old))
            expected.append(total / float(np.linalg.norm(flat[0])))
        assert concepts.travelled(steps, first, names) == pytest.approx(expected)


def test_foreground_is_that_of_plain_loops() -> None:
    random = np.random.default_rng(2)
    mel, real = random.uniform(-60, 0, (4, 21)), 17
    mel[:, real:] = -80
    loudest = max(mel[b][f] for b in range(4) for f in range(real))
    for margin in foreground.MARGINS:
        cells = foreground.foreground(mel, real, margin)
        for b in range(4):
            values = sorted(mel[b][:real])
            place = 0.1 * (real - 1)
            floor = values[int(place)] + (place - int(place)) * (values[int(place) + 1] - values[int(place)])
            for f in range(21):
                expected = f < real and mel[b][f] >= floor + margin and mel[b][f] >= loudest - 40
                assert cells[b, f] == expected
    chosen, counting = foreground.blocks(cells, real)
    assert chosen.shape == counting.shape == (4, 3)
    for b in range(4):
        for block in range(3):
            part = [cells[b, f] for f in range(8 * block, min(8 * block + 8, real))]
            assert counting[b, block] == bool(part) and chosen[b, block] == (sum(part) > len(part) / 2)


def test_an_event_over_a_floor_is_foreground_and_a_steady_sound_is_not() -> None:
    mel = np.full((20, 173), -50.0)
    mel[5:8, 40:72] = -10
    cells = foreground.foreground(mel, 173)
    assert cells[5:8, 40:72].all() and cells.sum() == 3 * 32
    blocks, _ = foreground.blocks(cells, 173)
    assert blocks.shape == (20, 22) and blocks.sum() == 3 * 4
    steady = np.full((20, 173), -20.0) + np.random.default_rng(0).normal(0, 1, (20, 173))
    assert foreground.share(steady, 173) < foreground.LEAST
    assert foreground.share(np.full((20, 173), -80.0), 173) == 0  # silence


@pytest.mark.parametrize(
    ("short", "seconds", "real"), [("pad", None, 90), ("pad", 1.0, 44), ("pad", 3.9, 90), ("loop", 1.0, 173)]
)
def test_what_fills_up_a_clip_is_no_frame_of_it(short: str, seconds: float | None, real: int) -> None:
    mel = np.random.default_rng(0).uniform(-60, 0, (20, 173))
    mel[:, 90:] = -80
    assert foreground.real_frames(mel, FeatureSpec(short=short), seconds) == real
    assert foreground.real_frames(np.full((20, 173), -80.0), FeatureSpec(), None) == 1


class Linear(nn.Module):
    """f = W (the mel plane) + 100, so that the ReLU behind it does nothing, and its error under noise is known."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)
        self.unused = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Outputs:
        embedding = x[:, 1].flatten(1) @ self.weights.T + 100
        return Outputs(embedding=embedding, hidden=embedding, logits=embedding)


def linear(bins: int = 3, frames: int = 20) -> tuple[Network, Tensor]:
    """The network on two planes, with deviations of its own, and its error per σ² of each block."""
    random = torch.Generator().manual_seed(0)
    scale = torch.exp(torch.randn(bins, 3, generator=random)).repeat_interleave(8, 1)[:, :frames]
    weights = torch.randn(64, bins, frames, generator=random) * scale
    network = Network("linear", Linear(weights.flatten(1)), (2, bins, frames), 64)
    network.std.copy_(torch.tensor([1.0, 2.0]).view(2, 1, 1).expand(2, bins, 1) * torch.arange(1, bins + 1).view(-1, 1))
    per_cell = weights.square().mean(0)  # x is standardised: the noise has the deviation σ again behind it
    return network, torch.stack([per_cell[:, i : i + 8].sum(1) for i in (0, 8, 16)], 1)


def test_noise_goes_where_it_disturbs_least() -> None:
    """f linear: error = Σ a_i σ_i², so at a given mean of ln σ the least is where every a_i σ_i² is equal."""
    network, a = linear()
    mask = np.ones((1, 3, 3), dtype=bool)
    x = torch.randn(1, 2, 3, 20, generator=torch.Generator().manual_seed(1))
    let_go = discarded.discarded(network, x, ["a.wav"], 1, mask)
    best = -0.5 * torch.log(a)
    best = (best + (-2.8 - best.mean())).numpy()
    assert np.abs(let_go.entropies[0] - best).max() < 0.15
    assert let_go.entropies.mean() == pytest.approx(-2.8, abs=1e-3)
    assert let_go.error[0] == pytest.approx(float(a.sum()) * 0.01**2, rel=0.3)
    again = discarded.discarded(network, x.repeat(2, 1, 1, 1), ["b.wav", "a.wav"], 1, mask.repeat(2, 0))
    assert np.array_equal(again.entropies[1], let_go.entropies[0])  # no clip depends on another
    assert discarded.tensors_up_to(network, "embedding") == ["weights"]


def test_the_search_is_the_loop_that_it_is_written_as() -> None:
    """Plain loops: Newton's step of an error that is known, the total held within the bounds, the mean of the last three quarters."""
    a = [[3.0, 0.5, 0.01], [40.0, -1.0, 1.0]]
    mask = torch.tensor([[True, True, True], [True, True, False]])
    search = discarded.Search(steps=9)

    def error(log_sigma: Tensor, _: int) -> Tensor:
        return (torch.tensor(a) * (2 * log_sigma).exp() * mask).sum()

    found = discarded.sought(error, mask, search)
    there = [(b, t) for b, t in np.ndindex(2, 3) if mask[b, t]]
    x, summed = dict.fromkeys(there, -2.8 - concepts.UNIT), dict.fromkeys(there, 0.0)
    for step in range(9):
        g = {at: 2 * a[at[0]][at[1]] * math.exp(2 * x[at]) for at in there}
        inside = [g[at] for at in there if math.log(0.001) < x[at] < 0]
        mean = max(1e-12, sum(inside) / len(inside))
        x = {at: x[at] - 0.4 / 2 * (min(3.0, max(-1.0, g[at] / mean)) - 1) for at in there}
        for _ in range(8):
            shift = -2.8 - concepts.UNIT - sum(x.values()) / len(x)
            x = {at: min(0.0, max(math.log(0.001), x[at] + shift)) for at in there}
        if step >= 9 - 6:
            summed = {at: summed[at] + x[at] / 6 for at in there}
    assert [found[at].item() for at in there] == pytest.approx([summed[at] for at in there], abs=1e-5)


def test_where_the_error_is_not_linear_noise_costs_the_same_in_every_block_too() -> None:
    """E = Σ a_i s_i / (1 + s_i / c), s = σ²: at the answer all g_i are one, and a block at a bound would go beyond it."""
    random = torch.Generator().manual_seed(3)
    a, c = torch.exp(torch.randn(20, 22, generator=random)), 0.03
    a[0, 0], a[0, 1] = 0.0, 1e9  # bears anything; bears nothing
    mask = torch.ones(20, 22, dtype=torch.bool)

    def error(log_sigma: Tensor, _: int) -> Tensor:
        square = (2 * log_sigma).exp()
        return (a * square / (1 + square / c)).sum()

    log_sigma = discarded.sought(error, mask, discarded.Search(steps=400)).requires_grad_()
    (gradient,) = torch.autograd.grad(error(log_sigma, 0), log_sigma)
    log_sigma = log_sigma.detach()
    inside = (log_sigma < -0.01) & (log_sigma > math.log(0.001) + 0.01)
    assert inside.sum() > 400 and not inside[0, :2].any()
    middle = gradient[inside].mean()
    assert (gradient[inside] / middle - 1).abs().max() < 0.01
    assert gradient[0, 0] < middle < gradient[0, 1]
    assert (log_sigma[0, 0].item(), log_sigma[0, 1].item()) == (
        pytest.approx(0, abs=1e-2),
        pytest.approx(math.log(0.001), abs=1e-2),
    )
    assert log_sigma.mean().item() == pytest.approx(-2.8 - concepts.UNIT, abs=1e-3)


def test_a_network_that_does_not_move_at_some_noise_gives_numbers() -> None:
    mask = torch.ones(2, 3, dtype=torch.bool)
    still = discarded.sought(lambda log_sigma, _: 0 * log_sigma.sum(), mask, discarded.Search(steps=5))
    assert still.flatten().tolist() == pytest.approx([-2.8 - concepts.UNIT] * 6)


def test_padding_stays_as_it_is_and_has_no_part_in_the_total() -> None:
    network, a = linear()
    mask = np.ones((1, 3, 3), dtype=bool)
    mask[..., 2] = False
    x = torch.zeros(1, 2, 3, 20)
    let_go = discarded.discarded(network, x, ["a.wav"], 1, mask, search=discarded.Search(steps=60))
    assert let_go.entropies[mask].mean() == pytest.approx(-2.8, abs=1e-3) and not let_go.entropies[~mask].any()
    assert let_go.error[0] == pytest.approx(float(a[:, :2].sum()) * 0.01**2, rel=0.3)


def test_an_output_that_does_not_move_says_so_and_one_that_is_not_there_is_one_line() -> None:
    network = models.network("cnn2", (5, 20, 24), 3)
    with torch.no_grad():
        network.body.conv2.bias.fill_(-1e6)
    x, mask = torch.zeros(1, 5, 20, 24), np.ones((1, 20, 3), dtype=bool)
    dead = discarded.discarded(network, x, ["a.wav"], 1, mask, search=discarded.Search(steps=2))
    assert dead.error[0] == 0
    with pytest.raises(InputError, match="--layer map9: cnn2 has no such output; expected one of embedding"):
        discarded.discarded(network, x, ["a.wav"], 1, mask, "map9")
    names = [name for name, _ in network.body.named_parameters()]
    assert discarded.tensors_up_to(network, "map1") == names[:2]
    assert discarded.tensors_up_to(network, "logits") == names
