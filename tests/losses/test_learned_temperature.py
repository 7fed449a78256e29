"""hinton@T=learned: the worked values of METHODS2 4.6, how θ is planned and trained, and what it is refused with."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pipeline import losses, models
from pipeline.config import InputError
from pipeline.losses import LossMix, adapters, hinton, mixed_loss
from pipeline.losses.signature import options
from pipeline.training.sampling import order
from tests.losses.worked import Z_S, Z_T, divergence, near, outputs, softmax
from tests.trainings import CLASSES, QUICK, SHAPE, assert_alone_and_resumed_are_equal, fit, made_up, run_of

TERM = "hinton:1@T=learned"


def of_theta(theta: float, reversal: float = 1.0) -> tuple[float, float, float]:
    """Value on Z, and its gradients by θ and by the first of the student's outputs."""
    student = outputs(logits=Z_S, adapted=np.full(3, theta))
    for leaf in (student.adapted, student.logits):
        leaf.requires_grad_()
    value = losses.load("hinton")(student, outputs(logits=Z_T), None, reversal=reversal, T="learned")
    value.backward()
    return value.item(), student.adapted.grad.sum().item(), student.logits.grad[0, 0].item()


def test_the_worked_values() -> None:
    assert float(hinton.learned(torch.tensor(1.0, dtype=torch.float64), 1.0)) == near(15.6211715726)
    assert of_theta(1.0)[:2] == (near(3.9861410017), near(-0.0159973974))
    plan = [hinton.planned(epoch, 30, T="learned")["reversal"] for epoch in range(30)]
    assert plan[0] == near(-0.0244717419) and plan[9:] == [-1.0] * 21 and plan == sorted(plan, reverse=True)


def test_the_reversal_turns_the_gradient_of_theta_alone() -> None:
    plain, turned = of_theta(1.0), of_theta(1.0, -0.5)
    assert turned[0] == plain[0] and turned[2] == plain[2] and turned[1] == pytest.approx(-0.5 * plain[1])


def test_at_great_temperatures_centred_outputs_are_compared() -> None:
    """T² KL → ½ mean over classes of the squared difference of centred logits."""
    centred = (Z_S - Z_S.mean(1, keepdims=True)) - (Z_T - Z_T.mean(1, keepdims=True))
    assert 0.5 * (centred**2).mean() == near(3.9014981098)
    T = 1e4
    value = float(losses.load("hinton")(outputs(logits=Z_S), outputs(logits=Z_T), None, T=T))
    assert value == pytest.approx(3.90166, abs=6e-6)
    loop = np.mean([T * T * divergence(softmax(b, T), softmax(a, T)) for a, b in zip(Z_S, Z_T)])
    assert value == pytest.approx(loop, rel=1e-6)


def test_text() -> None:
    mix = LossMix.parse("ce,hinton@T=learned,hinton@T=4")
    assert str(mix) == "ce:1,hinton:1@T=4,hinton:1@T=learned"
    assert LossMix.parse(str(mix)) == mix == LossMix.parse(mix.slug) and mix.adapted == ("hinton@T=learned",)
    assert "adapter  1 weights that are trained" in LossMix.parse("ce,hinton@T=learned").explain()
    assert "adapter" not in LossMix.parse("ce,hinton@T=10..1").explain()
    assert options("hinton")["T"].ramps and options("hinton")["T"].default == 1.5
    for text, words in (
        (
            "hinton@T=lerned",
            "option T of hinton is 'lerned'; expected a number above 0 or learned, or a ramp such as 10..1",
        ),
        ("hinton@T=learned..1", "option T of hinton is 'learned..1'"),
    ):
        with pytest.raises(InputError, match=re.escape(words)):
            LossMix.parse(text)


def test_it_moves_the_temperatures_of_clips_that_vary() -> None:
    """Around T, without the gradient of how far, but with that of T: by small differences of T."""

    def value(theta: float, fixed: bool) -> torch.Tensor:
        student = outputs(logits=Z_S, adapted=np.full(3, theta))
        student.adapted.requires_grad_()
        T = float(hinton.learned(torch.tensor(theta, dtype=torch.float64), 1.0)) if fixed else "learned"
        result = losses.load("hinton")(student, outputs(logits=Z_T), None, T=T, vary="angle", beta=3.0)
        return result if fixed else torch.autograd.grad(result, student.adapted)[0].sum()

    slope = (value(0.5 + 1e-5, True) - value(0.5 - 1e-5, True)) / 2e-5
    assert float(value(0.5, False)) == pytest.approx(float(slope), rel=1e-5)


def test_a_mix_gives_the_reversal_of_its_epoch() -> None:
    loss = mixed_loss([LossMix.parse("ce,hinton@T=learned"), LossMix.parse("ce,hinton@T=3..2")])
    for epoch in (0, 4, 12):
        loss.set_epoch(epoch, 20)
        theta = torch.full((2, 3), 1.0).requires_grad_()
        student = losses.Outputs({"logits": torch.tensor(np.stack([Z_S] * 2)), "adapted hinton@T=learned": theta})
        teacher = losses.Outputs({"logits": torch.tensor(np.stack([Z_T] * 2))})
        total, _ = loss(student, teacher, torch.tensor([[0, 1, 2]] * 2))
        (gradient,) = torch.autograd.grad(total.sum(), theta)
        factor = 0.5 * (math.cos(math.pi * min(epoch + 1, 10) / 10) + 1) - 1
        assert gradient.sum(-1).tolist() == [pytest.approx(-0.0159973974 * factor, rel=1e-5), 0]


def test_it_is_trained_alone_packed_and_resumed_alike(tmp_path: Path) -> None:
    """θ is a weight of the pack: in the checkpoint, climbing the loss, and no part of the student."""
    data = made_up()
    runs = [run_of("ce,hinton@T=learned"), run_of("ce:0.5,hinton:3@T=learned", fold=2, teacher=1)]
    assert_alone_and_resumed_are_equal(tmp_path / "a.pt", data, runs, QUICK, (3,))
    trained = fit(data, runs)
    thetas = [float(one.adapters["hinton@T=learned theta"]) for one in trained]
    assert all(abs(theta - 1) > 1e-7 for theta in thetas) and thetas[0] != thetas[1]
    plain = fit(data, [run_of("ce,hinton@T=4")])[0]
    assert {k: v.shape for k, v in plain.state.items()} == {k: v.shape for k, v in trained[0].state.items()}


def test_theta_climbs_the_loss() -> None:
    """One step of the plan's last factor: the loss of the same outputs is larger at the new θ."""
    network = models.network("cnn2", (2, 8, 16), 3)
    module = adapters([LossMix.parse(f"ce,{TERM}")], [(0, 1)], [network], {"logits": (3,)})[0]["hinton@T=learned"]
    assert [theta.item() for theta in module.parameters()] == [1]
    before, gradient, _ = of_theta(1.0, -1.0)
    assert of_theta(1.0 - 0.5 * gradient)[0] > before


def test_a_plain_loop_gives_the_same_student_and_temperature() -> None:
    """SGD of torch on the student's weights and θ, rate, momentum and decay alike; θ's gradient times λ of the epoch, the term's weight warm."""
    samples, labels, taught = made_up()
    settings = dataclasses.replace(QUICK, epochs=3, weight_decay=0.002)
    run = run_of("ce:0.5,hinton:3@T=learned@warm=2,soft:0")
    trained = fit((samples, labels, taught), [run], settings)[0]
    network = models.network("cnn2", SHAPE, CLASSES, seed=run.weights_seed, fold=1).train()
    for name in ("mean", "std"):
        getattr(network, name).copy_(trained.state[name].reshape(getattr(network, name).shape))
    theta = torch.ones(1, requires_grad=True)
    how = {"lr": settings.lr, "momentum": 0.9, "nesterov": True, "weight_decay": 0.002}
    optimizer = torch.optim.SGD([*network.parameters(), theta], **how)
    for epoch in range(3):
        turned = 0.5 * (math.cos(math.pi * min(epoch + 1, 10) / 10) + 1) - 1
        for batch in torch.from_numpy(order(run, epoch))[:40].split(8):
            said, target = network(samples[batch]).logits, taught.outputs["logits"][0, batch]
            T = 1 + 20 * theta.sigmoid()
            divergence = F.kl_div((said / T).log_softmax(-1), (target / T).softmax(-1), reduction="batchmean")
            loss = 0.5 * F.cross_entropy(said, labels[batch]) + 3 * min((epoch + 1) / 2, 1) * T**2 * divergence
            optimizer.zero_grad()
            loss.sum().backward()
            assert theta.grad is not None
            theta.grad *= turned
            optimizer.step()
    torch.testing.assert_close(
        trained.adapters["hinton@T=learned@warm=2 theta"].reshape(1), theta.detach(), rtol=0, atol=5e-6
    )
    for name, value in network.named_parameters():
        torch.testing.assert_close(
            trained.state[name.removeprefix("body.")].reshape(value.shape), value.detach(), rtol=1e-3, atol=2e-5
        )
    assert abs(theta.item() - 1) > 1e-3
