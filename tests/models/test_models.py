"""The networks against plain torch modules with the same weights, and R runs against one at a time."""

from __future__ import annotations

import copy

import pytest
import torch

from pipeline import models
from pipeline.config import InputError
from pipeline.losses.learner import Learner
from pipeline.models import Stacked
from pipeline.models.residual import average_windows
from tests.networks import plain, with_weights_of

PAPER = (5, 20, 173)
SMALL = {"cnn2": (5, 9, 14), "cnn2_cosine": (5, 9, 14), "resnet18": (5, 8, 33), "resnet56": (3, 8, 8)}
SMALL["resnet10"] = SMALL["resnet18"]
SMALL |= dict.fromkeys(("cnn2_reuse", "cnn2_reuse_hidden"), SMALL["cnn2"])
SMALL |= dict.fromkeys(("tiny", "small", "large"), (1, 9, 17))
LOG_MEL = (1, 64, 173)


def cut(network: Stacked, run: int) -> Stacked:
    """A copy of one run, with a runs axis of one."""
    return Stacked([network.single(run)]).train(network.training)


@pytest.mark.parametrize(
    ("name", "shape", "classes", "count", "embedding", "hidden"),
    [
        ("resnet18", PAPER, 10, 178_466, 256, 256),
        ("cnn2", PAPER, 10, 116_538, 3440, 32),
        ("cnn2_cosine", PAPER, 10, 116_528, 3440, 32),
        ("cnn2_reuse", PAPER, 10, 20_698, 256, 256),
        ("cnn2_reuse_hidden", PAPER, 10, 127_226, 256, 256),
        ("resnet56", (3, 32, 32), 100, 861_620, 64, 64),
        ("small", LOG_MEL, 10, 98_682, 128, 128),
        ("small", PAPER, 10, 99_258, 128, 128),
        ("tiny", LOG_MEL, 10, 22_754, 56, 56),
        ("tiny", PAPER, 10, 23_042, 56, 56),
        ("large", LOG_MEL, 10, 390_890, 256, 256),
    ],
)
def test_the_published_sizes(
    name: str, shape: tuple[int, int, int], classes: int, count: int, embedding: int, hidden: int
) -> None:
    network = models.build(name, shape, classes, runs=2)
    assert models.parameters(network) == count
    assert sum(p.numel() for p in plain(name, shape, classes).parameters()) == count
    outputs = network(torch.randn(3, 2, *shape))
    assert [tuple(outputs[key].shape) for key in ("embedding", "hidden", "logits")] == [
        (2, 3, embedding),
        (2, 3, hidden),
        (2, 3, classes),
    ]


@pytest.mark.parametrize("name", models.names())
def test_every_run_is_the_plain_network(name: str) -> None:
    """Outputs, gradients and running statistics of R = 3, of R = 1 and of torch's own modules are the same."""
    torch.manual_seed(0)
    shape, runs = SMALL[name], 3
    network = models.build(name, shape, 7, runs).double()
    mean, std = torch.randn(runs, *shape[:2], 1).double(), torch.rand(runs, *shape[:2], 1).double() + 0.5
    network.mean.copy_(mean)
    network.std.copy_(std)
    x = torch.randn(4, runs, *shape).double()
    singles = [cut(network, run) for run in range(runs)]
    references = [with_weights_of(network, run) for run in range(runs)]
    outputs = network(x)
    outputs.logits.square().sum().backward()
    for run in range(runs):
        logits = references[run]((x[:, run] - mean[run]) / std[run])
        logits.square().sum().backward()
        single = singles[run](x[:, run])
        single.logits.square().sum().backward()
        torch.testing.assert_close(outputs.logits[run], logits)
        torch.testing.assert_close(single.logits[0], logits)
        torch.testing.assert_close(outputs.embedding[run], single.embedding[0])
        torch.testing.assert_close(outputs.hidden[run], single.hidden[0])
        for packed, one, theirs in zip(network.parameters(), singles[run].parameters(), references[run].parameters()):
            torch.testing.assert_close(packed.grad[run], theirs.grad, atol=1e-9, rtol=1e-6)
            torch.testing.assert_close(one.grad[0], theirs.grad, atol=1e-9, rtol=1e-6)
        ours = [b for n, b in network.named_buffers() if "running" in n]
        for mine, theirs in zip(ours, (b for n, b in references[run].named_buffers() if "running" in n)):
            torch.testing.assert_close(mine[run], theirs)


@pytest.mark.parametrize("name", models.names())
@pytest.mark.parametrize("training", [True, False])
def test_vmap_gives_what_single_networks_give(name: str, training: bool) -> None:
    """Of three: every output, gradients by every output, batch norm's statistics, within 1e-5; in float64, where the order
    of a sum does not matter."""
    together = models.build(name, SMALL[name], 7, runs=3).double().train(training)
    together.mean.normal_(generator=torch.Generator().manual_seed(1))
    alone = [copy.deepcopy(together.single(run)) for run in range(3)]
    x = torch.randn(4, 3, *SMALL[name], dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    whole = together(x)
    ours = torch.autograd.grad(sum(v.square().sum() for v in whole.values()), list(together.parameters()))
    for run, network in enumerate(alone):
        outputs = network(x[:, run])
        assert outputs.keys() == whole.keys() >= {"embedding", "hidden", "logits", "map1", "map2"}
        for key, output in outputs.items():
            torch.testing.assert_close(whole[key][run], output, rtol=1e-5, atol=1e-9)
        theirs = torch.autograd.grad(sum(v.square().sum() for v in outputs.values()), list(network.parameters()))
        for mine, yours in zip(ours, theirs, strict=True):
            assert (mine[run] - yours).norm() <= 1e-5 * yours.norm()
        buffers = dict(network.body.named_buffers())
        for key, statistics in together.state()[1].items():
            torch.testing.assert_close(statistics[run], buffers[key], rtol=1e-5, atol=1e-12)


def test_the_embedding_is_what_the_output_layer_reads() -> None:
    network = models.build("resnet18", PAPER, 10)
    outputs = network.eval()(torch.randn(2, *PAPER))
    again = outputs.embedding[0] @ network.linear.weight[0].T + network.linear.bias[0]
    torch.testing.assert_close(again, outputs.logits[0])
    student = models.build("cnn2", PAPER, 10).eval()
    outputs = student(torch.randn(2, *PAPER))
    hidden = torch.relu(outputs.embedding[0] @ student.linear1.weight[0].T + student.linear1.bias[0])
    torch.testing.assert_close(hidden, outputs.hidden[0])
    torch.testing.assert_close(hidden @ student.linear2.weight[0].T + student.linear2.bias[0], outputs.logits[0])


def test_evaluation_reads_the_running_statistics_and_keeps_them() -> None:
    network = models.build("resnet18", SMALL["resnet18"], 3, runs=2)
    x = torch.randn(5, 2, *SMALL["resnet18"])
    network(x)
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    network.eval()
    whole = network(x).logits
    torch.testing.assert_close(network(x[:1]).logits, whole[:, :1])  # a sample does not depend on its batch
    for name, buffer in network.named_buffers():
        assert torch.equal(buffer, before[name]), name


@pytest.mark.parametrize("name", models.names())
def test_nothing_flows_between_runs(name: str) -> None:
    network = models.build(name, SMALL[name], 3, runs=2)
    x = torch.randn(2, 2, *SMALL[name], requires_grad=True)
    network(x).logits[0].sum().backward()
    assert x.grad[:, 0].abs().sum() > 0 and not x.grad[:, 1].any()
    for parameter in network.parameters():
        assert not parameter.grad[1].any()


def test_initial_weights_depend_on_model_seed_and_fold_alone() -> None:
    keys = [(0, 1), (5, 2), (0, 2)]
    network = Stacked([models.network("cnn2", SMALL["cnn2"], 3, seed=seed, fold=fold) for seed, fold in keys])
    torch.rand(7)  # the global generator plays no part
    single = Stacked([models.network("cnn2", SMALL["cnn2"], 3, seed=5, fold=2)])
    for whole, one in zip(network.parameters(), single.parameters()):
        assert torch.equal(whole[1], one[0])
    firsts = [network.conv1.weight[run] for run in range(3)]
    assert not torch.equal(firsts[0], firsts[1]) and not torch.equal(firsts[0], firsts[2])


def test_initial_weights_have_the_stated_spread() -> None:
    student = models.build("cnn2", PAPER, 10)
    bound = (5 * 9) ** -0.5
    assert student.conv1.weight.abs().max() <= bound
    assert student.conv1.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
    assert student.linear1.weight.std().item() == pytest.approx(3440**-0.5 / 3**0.5, rel=0.02)
    assert student.linear1.bias.abs().max() > 0
    teacher = models.build("resnet18", PAPER, 10)
    last = teacher.blocks[7].conv2.weight
    assert last.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)
    assert teacher.norm.weight.eq(1).all() and teacher.norm.bias.eq(0).all()


def test_cut_is_a_copy_with_the_plain_state_dict() -> None:
    network = models.build("resnet18", SMALL["resnet18"], 3, runs=2)
    single = cut(network, 1)
    fresh = models.build("resnet18", SMALL["resnet18"], 3)
    fresh.load_state_dict(single.state_dict())
    x = torch.randn(2, *SMALL["resnet18"])
    assert torch.equal(fresh.eval()(x).logits, single.eval()(x).logits)
    single.stem.weight.data.zero_()
    assert network.stem.weight[1].any()
    shared = network.single(1)
    shared.body.stem.weight.data.zero_()
    assert not network.stem.weight[1].any() and network.stem.weight[0].any()


@pytest.mark.parametrize(("width", "windows"), [(22, 4), (3, 4), (1, 4), (8, 1), (4, 4)])
def test_average_windows_is_adaptive_pooling(width: int, windows: int) -> None:
    x = torch.randn(2, 3, 1, width)
    expected = torch.nn.functional.adaptive_avg_pool2d(x, (1, windows))
    torch.testing.assert_close(x @ average_windows(width, windows).T, expected)


def test_what_cannot_be_built_or_read_is_one_clear_line() -> None:
    for arguments in (
        ("resnet19", PAPER, 10),
        ("cnn2", (5, 3, 173), 10),
        ("cnn2", (5, 20, 3), 10),
        ("small", (1, 7, 173), 10),
        ("tiny", (1, 64, 7), 10),
        ("resnet18", (5, 20), 10),
        ("resnet18", (5, 0, 9), 10),
        ("cnn2", PAPER, 0),
        ("cnn2", PAPER, 10, 0),
    ):
        with pytest.raises(InputError, match="expected"):
            models.build(*arguments)
    learner = {"reads": None, "device": torch.device("cpu"), "dtype": torch.float32}
    for layout in ("ring", "grouped", "channels_last", "bmm", "conv1=bmm"):
        with pytest.raises(InputError, match=f"layout '{layout}'; expected one of loop, vmap"):
            Learner([models.network("cnn2", PAPER, 10)], [{}], layout, **learner)
    with pytest.raises(InputError, match=r"expected \(batch, 2, 5, 9, 14\)"):
        models.build("cnn2", SMALL["cnn2"], 3, runs=2)(torch.zeros(4, 3, *SMALL["cnn2"]))
