"""The mix: its text, its path name, the paper's weights; and the mixes of many runs as one function."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import cli
from pipeline import losses, models, training
from pipeline.config import InputError, TrainSettings
from pipeline.losses import (
    LossMix,
    Term,
    library,
    mixed_loss,
)
from pipeline.losses.signature import Option, bounds, options
from pipeline.report.paper import TABLE3, percent
from tests import tiny
from tests.losses.terms import PAPERS

NAMES = losses.names()


def read_of(name: str) -> set[str]:
    """What the file of a loss says that it reads of the student, with the first words of its options."""
    said = getattr(losses.module(name), "READS", ("logits",))
    return set(next(iter(said.values())) if isinstance(said, dict) else said)


#: The losses that see the logits, or the cosines of an angular output layer, which name classes as they do; and those that see no
#: teacher: the paper's, and what other files say of themselves.
NAMING = {name for name in NAMES if {"logits", "cosines"} & read_of(name)}
TEACHERLESS = {name for name in NAMES if getattr(losses.module(name), "TEACHER", "not said") == ()}


def test_text_becomes_terms() -> None:
    mix = LossMix.parse(" area:20 , angle:40@layer=hidden@delta=2,hinton@T=4 ")
    assert mix.terms == (
        Term("angle", 40.0, (("delta", 2.0), ("layer", "hidden"))),
        Term("area", 20.0),
        Term("hinton", 1.0, (("T", 4.0),)),
        Term("soft", 1.0),
    )
    assert str(mix) == "angle:40@delta=2@layer=hidden,area:20,hinton:1@T=4,soft:1"
    assert mix.slug == "angle40@delta_2@layer_hidden+area20+hinton1@T_4+soft1"


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("soft", "soft:1"),
        ("ce", "ce:1"),
        ("angle", "angle:50,soft:1"),
        ("angle,distance", "angle:10,distance:40,soft:1"),
        ("distance,area", "area:20,distance:20,soft:1"),
        ("area,angle", "angle:40,area:20,soft:1"),
        ("angle,area,soft", "angle:40,area:20,soft:1"),
        ("angle,area,soft:1", "angle:40,area:20,soft:1"),
        ("distance,angle,area", "angle:20,area:40,distance:40,soft:1"),
        ("hinton", "hinton:1,soft:1"),
        ("hinton@T=1.5", "hinton:1,soft:1"),
        ("area,hinton@T=1.50,angle", "angle:10,area:50,hinton:1,soft:1"),
        # not the paper's mix: each loss's own default
        ("distance", "distance:20,soft:1"),
        ("area", "area:20,soft:1"),
        ("ce,angle", "angle:20,ce:1"),
        ("ce,soft", "ce:1,soft:1"),
        ("angle:40,area", "angle:40,area:20,soft:1"),
        ("angle:5,distance", "angle:5,distance:20,soft:1"),
        ("angle,area,soft:2", "angle:20,area:20,soft:2"),
        ("hinton@T=4,angle,area", "angle:20,area:20,hinton:1@T=4,soft:1"),
        ("angle@layer=hidden", "angle:20@layer=hidden,soft:1"),
        ("angle,angle@layer=hidden", "angle:20,angle:20@layer=hidden,soft:1"),
        ("angle:1e9,area:1e-7,soft:0.1", "angle:1e9,area:1e-7,soft:0.1"),
        # a base term of weight 0 keeps the other from being added, and is nothing else
        ("angle:40,soft:0", "angle:40,soft:0"),
        ("soft:0.0,angle", "angle:20,soft:0"),
        ("angle,ce:0", "angle:20,soft:0"),
        ("angle40+soft0+ce0", "angle:40,soft:0"),
        ("hinton,soft:0", "hinton:1,soft:0"),
        ("ce:0,soft", "soft:1"),
        ("ce,soft:0", "ce:1"),
        ("angle,area,soft,ce:0", "angle:40,area:20,soft:1"),
    ],
)
def test_canonical_text(text, canonical) -> None:
    assert str(LossMix.parse(text)) == canonical


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no losses named"),
        (" , ", "no losses named"),
        ("angle,,area", "nothing between"),
        ("angel,area", "'angel', did you mean 'angle'"),
        ("angel40", "'angel', did you mean 'angle'"),
        ("foo", "unknown loss 'foo'"),
        ("mix", "unknown loss 'mix'"),
        (":3", "unknown loss"),
        ("angle:", "weight of angle"),
        ("angle:0", "weight of angle is '0'"),
        ("angle:-1", "weight of angle is '-1'"),
        ("angle0", "weight of angle is '0'"),
        ("hinton:0,soft:0", "weight of hinton is '0'"),
        ("soft:-1", "weight of soft is '-1'"),
        ("soft:0", "'soft:0': every weight is 0"),
        ("ce0+soft0", "every weight is 0"),
        ("angle,soft:0,soft", "named twice"),
        ("angle:nan", "weight of angle"),
        ("angle:inf", "weight of angle"),
        ("angle:1e999", "weight of angle"),
        ("angle:1_0", "weight of angle"),
        ("angle:40:3", "weight of angle"),
        ("angle4x", "weight of angle"),
        ("angle,angle:3", "named twice"),
        ("hinton,hinton@T=1.5", "named twice"),
        ("hinton@T=0", "option T of hinton is '0'"),
        ("hinton@T=hot", "option T of hinton is 'hot'"),
        ("hinton@T=2@T=3", "option T is given twice"),
        ("hinton@temperature=4", "unknown option 'temperature'"),
        ("soft@epsilon=0.5", "option epsilon of soft does nothing without wrong=smooth; give that too"),
        ("hinton@beta=2", "option beta of hinton does nothing without vary=angle or vary=confidence"),
        ("hinton@gamma=2@vary=confidence", "option gamma of hinton does nothing without vary=angle"),
        ("soft@wrong=lable", "unknown wrong 'lable', did you mean 'label'?; expected one of keep, label, swap, smooth"),
        ("soft@wrong=smooth@epsilon=1", "option epsilon of soft is '1'; expected a number above 0 and below 1"),
        ("virtual@a=0", "option a of virtual is '0'; expected a number above 0 and below 1"),
        ("margin@m_lo=0.5@m_hi=0.2", "m_lo = 0.5 is above m_hi = 0.2"),
        ("hinton:4...1", "the weight of hinton is '4...1'; expected a number"),
        ("hinton@T=10...1", "option T of hinton is '10...1'; expected a number"),
        ("margin@m_lo=0.6", "m_lo = 0.6 is above m_hi = 0.5"),
        ("tolerance@K=1", "option K of tolerance is '1'; expected a whole number of at least 2"),
        ("tolerance@K=2.5", "option K of tolerance is '2.5'; expected a whole number"),
        ("ce@label_smoothing=0.1", "ce has no options"),
        ("angle@", "unknown option"),
        ("angle@layer=hiden", "unknown layer 'hiden', did you mean 'hidden'"),
        ("angle@layer=", "unknown layer"),
    ],
)
def test_what_cannot_be_read_is_one_clear_line(text, words) -> None:
    with pytest.raises(InputError, match=re.escape(words)) as caught:
        LossMix.parse(text)
    assert "\n" not in str(caught.value)


weights = st.floats(1e-12, 1e12) | st.integers(1, 1000).map(float) | st.just(20.0)


def numbers(option: Option) -> st.SearchStrategy[float]:
    """What an option that is a number may be."""
    low, high, _, _ = bounds(option.interval)
    if option.whole:
        return st.integers(int(low), int(min(high, 1000)))
    return st.floats(max(low, 1e-12), min(high, 1e12), exclude_min=low >= 1e-12, exclude_max=high <= 1e12)


@st.composite
def texts(draw) -> list[str]:
    """The terms of a random mix as text, some with weights and options."""
    terms = []
    for name in draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True)):
        term = name
        if draw(st.booleans()):
            least = st.just(0.0) if name in ("soft", "ce") else st.nothing()
            term += f":{draw(weights | least)!r}"
        given = {
            key: draw(st.sampled_from(option.words)) if option.words else repr(draw(numbers(option)))
            for key, option in options(name).items()
            if draw(st.booleans())
        }
        for key, beside in library.constant(name, "WITH", {}).items():  # without one of these the option is refused
            if not {f"{k}={v}" for k, v in given.items()} & set(beside):
                given.pop(key, None)
        bare, term = term, term + "".join(f"@{key}={value}" for key, value in given.items())
        if library.has(name, "check"):  # options that a file refuses together, which it alone knows
            try:
                LossMix.parse(f"{term},angle")
            except InputError:
                term = bare
        terms.append(term)
    return terms


def is_nothing(term: str) -> bool:
    return re.match(r"(soft|ce):0\.0(@|$)", term) is not None


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_round_trips(data) -> None:
    terms = data.draw(texts())
    if all(is_nothing(term) for term in terms):
        terms.append("angle")
    mix = LossMix.parse(",".join(terms))
    assert LossMix.parse(",".join(data.draw(st.permutations(terms)))) == mix
    assert LossMix.parse(str(mix)) == mix and LossMix.parse(mix.slug) == mix
    assert hash(LossMix.parse(mix.slug)) == hash(mix)
    assert re.fullmatch(r"[A-Za-z0-9_.@+-]+", mix.slug)
    assert all(term.weight > 0 for term in mix.terms)
    given = {re.split("[:@]", term)[0] for term in terms}
    learned = {re.split("[:@]", term)[0] for term in terms if not is_nothing(term)}
    assert losses.named(",".join(terms)) == given
    assert {t.name for t in mix.terms} == (learned if given & {"soft", "ce"} else learned | {"soft"})
    assert mix.has_base != ("soft:0" in str(mix).split(","))
    assert mix.names_classes == bool({t.name for t in mix.terms} & NAMING)
    assert mix.needs_teacher == bool({t.name for t in mix.terms} - TEACHERLESS)


def test_table_3() -> None:
    accuracies = {row.mix: row.percent for row in TABLE3}
    assert len(TABLE3) == 9 and accuracies[""] == 68.16
    for row in TABLE3[1:]:
        assert str(LossMix.parse(row.mix)) == row.mix  # canonical
        bare = ",".join(re.findall("[a-z]+", row.mix))
        assert str(LossMix.parse(bare)) == row.mix  # the weights come without being named
    assert percent(TABLE3, "angle:40,area:20,soft:1") == 65.28
    assert percent(TABLE3, "area:20,distance:20,soft:1") == 65.13
    for text in ("angle:41,area:20", "hinton@T=4", "ce"):
        assert percent(TABLE3, str(LossMix.parse(text))) is None


def test_explain_says_where_everything_comes_from() -> None:
    text = LossMix.parse("angle,area").explain(65.28)
    for words in (
        "65.28 %",
        "angle: weight 40 (of Table 3)",
        "area: weight 20 (of Table 3)",
        "soft: weight 1 (the base term)",
        "Park et al. 2019, eq. 9 and 10",
        "Cho et al. 2023, eq. 3.1 to 3.3",
        losses.module("angle").FORMULA,
        "delta = 1",
    ):
        assert words in text
    text = LossMix.parse("distance,hinton:3@T=4,angle:7@layer=hidden,ce").explain()
    assert "distance: weight 20 (the default)" in text and "Table 3" not in text
    assert "hinton@T=4: weight 3 (given)" in text and "T = 4" in text
    assert "student's hidden; teacher's embedding" in text and "no teacher" in text
    assert "T = 4, wrong = keep, vary = off" in text  # epsilon, beta and gamma do nothing there
    text = LossMix.parse("hinton@vary=angle@gamma=2").explain()
    assert "T = 1.5, wrong = keep, vary = angle, beta = 1, gamma = 2" in text
    text = LossMix.parse("angle:40,soft:0").explain()
    assert text.startswith("angle:40,soft:0  (path name angle40+soft0)")
    assert "soft: weight 0 (no base term is added, and none is computed)" in text
    assert "names classes by chance" in text and losses.module("soft").FORMULA not in text
    text = LossMix.parse("hinton,soft:0").explain()
    assert "soft: weight 0" in text and "by chance" not in text


OWN = '''"""How far the logits are from the teacher's."""
from typing import Literal

def logit_gap2(student, teacher, labels, *, max_gap=3.0, form: Literal["l_1", "l_2"] = "l_2"):
    gap = (student.logits - teacher.logits.detach()).abs().clamp(max=max_gap)
    return (gap if form == "l_1" else gap ** 2).mean((-2, -1))
'''


def test_a_new_loss_is_one_file(tmp_path, monkeypatch) -> None:
    (tmp_path / "logit_gap2.py").write_text(OWN)
    (tmp_path / "notes.py").write_text('"""Not a loss."""\n')
    monkeypatch.setattr(losses, "__path__", [*losses.__path__, str(tmp_path)])
    assert "logit_gap2" in losses.names() and "notes" not in losses.names()
    mix = LossMix.parse("angle,logit_gap2@max_gap=2@form=l_1")
    assert str(mix) == "angle:20,logit_gap2:1@form=l_1@max_gap=2,soft:1"
    assert LossMix.parse(mix.slug) == mix and "How far the logits" in mix.explain()
    student, teacher, labels = batch(1, seed=3), batch(1, seed=4), torch.zeros(1, 6, dtype=torch.int64)
    total, raw = mixed_loss([mix])(student, teacher, labels)
    gap = (student.logits - teacher.logits).abs().clamp(max=2).mean((-2, -1))
    torch.testing.assert_close(raw["logit_gap2@form=l_1@max_gap=2"], gap)
    assert total.shape == (1,)


# Batches that are too small.


def test_which_of_the_papers_losses_see_logits_and_teachers() -> None:
    assert NAMING & set(PAPERS) == {"soft", "ce", "hinton"}
    assert TEACHERLESS & set(PAPERS) == {"ce"}


def test_a_mix_refuses_more_classes_than_there_are() -> None:
    LossMix.parse("ce,tolerance").require_classes(5)
    LossMix.parse("ce,virtual,hinton").require_classes(2)
    for text, K, classes in (("tolerance", 5, 4), ("ce:0.9,tolerance:0.1@K=11", 11, 10)):
        with pytest.raises(
            InputError, match=rf"needs K = {K}, and there are {classes} classes; .*@K={classes}$"
        ) as caught:
            LossMix.parse(text).require_classes(classes)
        assert "\n" not in str(caught.value)


def test_a_mix_refuses_a_batch_that_is_too_small() -> None:
    for text in ("angle", "area,ce", "distance:1,soft:0", "hinton,angle,area"):
        mix = LossMix.parse(text)
        assert mix.rows == 3 and mix.require_batch(3) is None  # type: ignore[func-returns-value]
        for count in (1, 2):
            with pytest.raises(InputError, match=rf"^student.batch = {count}: .* at least 3 clips .* student.batch=8$"):
                mix.require_batch(count, "student.batch")
    for text in ("soft", "ce", "hinton", "ce,hinton,soft"):
        assert LossMix.parse(text).rows == 1
        LossMix.parse(text).require_batch(1)
    assert "batch    of at least 3 clips" in LossMix.parse("angle").explain()
    assert "    batch " not in LossMix.parse("hinton,ce").explain()


def test_a_new_loss_may_state_its_rows(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(losses, "__path__", [*losses.__path__, str(tmp_path)])
    body = "def {name}(student, teacher, labels):\n    return student.logits.square().mean((-2, -1))\n"
    for name, rows in (("needs5", "5"), ("needs_text", '"5"'), ("needs0", "0"), ("needs_half", "2.5")):
        (tmp_path / f"{name}.py").write_text(f"ROWS = {rows}\n" + body.format(name=name))
    mix = LossMix.parse("needs5,angle")
    assert mix.rows == 5
    mix.require_batch(5)
    with pytest.raises(InputError, match=r"needs5 of mix .* needs at least 5 clips"):
        mix.require_batch(4)
    for name in ("needs_text", "needs0", "needs_half"):
        with pytest.raises(InputError, match=rf"loss {name}: ROWS = .*; expected a whole number of clips"):
            LossMix.parse(name).require_batch(8)


def test_commands_refuse_a_small_batch_before_anything_is_trained(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    tiny.write_corpus(tmp_path)
    here = ("--dataset", "urbansound8k", "--data", str(tmp_path))
    for command in (
        ("distill", *here, "--losses", "soft", "--losses", "angle", "--set", "student.batch=2"),
        ("table3", *here, "--set", "student.batch=1"),
        ("ban", *here, "--losses", "none", "--losses", "area", "--set", "teacher.batch=2"),
        ("ban", *here, "--losses", "area", "--model", "student", "--set", "student.batch=2"),
        ("table4", "--losses", "distance", "--set", "teacher.batch=2"),
    ):
        done = CliRunner().invoke(cli.main, command)
        setting = command[-1].partition("=")[0]
        assert done.exit_code == 1 and done.output.count("\n") == 1, done.output
        assert done.output.startswith(f"error: {setting} = ") and "needs at least 3 clips" in done.output
        assert not (tmp_path / "runs").exists()


# Many runs in one function.


def batch(runs: int, seed: int) -> SimpleNamespace:
    random = torch.Generator().manual_seed(seed)
    sizes = {"embedding": 9, "hidden": 3, "logits": 4}
    return SimpleNamespace(**{k: torch.randn(runs, 6, n, generator=random) for k, n in sizes.items()})


def one(outputs: SimpleNamespace, run: int) -> SimpleNamespace:
    return SimpleNamespace(**{k: v[run] for k, v in vars(outputs).items()})


MIXES = tuple(
    map(
        LossMix.parse,
        (
            "angle,area",
            "soft",
            "ce",
            "hinton@T=4,angle:3",
            "angle:5@layer=hidden,ce:2",
            "distance,angle,area,ce",
            "angle:40,soft:0",
        ),
    )
)


def test_packed_mixes_equal_the_sums_of_each_run() -> None:
    student, teacher = batch(len(MIXES), 1), batch(len(MIXES), 2)
    labels = torch.randint(0, 4, (len(MIXES), 6), generator=torch.Generator().manual_seed(3))
    class_weights = torch.rand(len(MIXES), 4) + 0.5
    ce_options = {"label_smoothing": 0.1, "class_weights": class_weights}
    total, raw = mixed_loss(MIXES, "cpu", ce_options)(student, teacher, labels)
    assert total.shape == (len(MIXES),)
    assert set(raw) == {"angle", "angle@layer=hidden", "area", "ce", "distance", "hinton@T=4", "soft"}
    for run, mix in enumerate(MIXES):
        expected = torch.zeros(())
        for term in mix.terms:
            extra = {"label_smoothing": 0.1, "class_weights": class_weights[run]} if term.name == "ce" else {}
            value = losses.load(term.name)(
                one(student, run), one(teacher, run), labels[run], **dict(term.options), **extra
            )
            torch.testing.assert_close(raw[term.key][run], value)
            expected = expected + term.weight * value
        torch.testing.assert_close(total[run], expected)
        for key in raw.keys() - {term.key for term in mix.terms}:
            assert raw[key][run] == 0


@pytest.mark.parametrize("part", ["embedding", "logits"])
@pytest.mark.parametrize("sick", [0, 2])
def test_a_nan_stays_in_its_run(sick, part) -> None:
    student, teacher = batch(len(MIXES), 1), batch(len(MIXES), 2)
    labels = torch.zeros(len(MIXES), 6, dtype=torch.int64)
    getattr(student, part)[sick, 2] = torch.nan
    leaves = {k: v.requires_grad_() for k, v in vars(student).items()}
    total, raw = mixed_loss(MIXES)(SimpleNamespace(**leaves), teacher, labels)
    total.sum().backward()
    others = [run for run in range(len(MIXES)) if run != sick]
    assert bool(total[others].isfinite().all())
    reads = MIXES[sick].reads
    assert reads is not None and bool(total[sick].isnan()) == (part in reads)
    for value in raw.values():
        assert bool(value[others].isfinite().all())
    for leaf in leaves.values():
        assert leaf.grad is not None and bool(leaf.grad[others].isfinite().all())


def test_no_gradient_crosses_from_run_to_run_or_into_the_teacher() -> None:
    student, teacher = batch(len(MIXES), 1), batch(len(MIXES), 2)
    for outputs in (student, teacher):
        for value in vars(outputs).values():
            value.requires_grad_()
    labels = torch.zeros(len(MIXES), 6, dtype=torch.int64)
    total, _ = mixed_loss(MIXES)(student, teacher, labels)
    total[3].backward()
    for value in vars(student).values():
        assert value.grad is not None
        assert value.grad.abs().sum((1, 2)).nonzero().flatten().tolist() in ([3], [])
    assert student.logits.grad[3].abs().sum() > 0 and student.embedding.grad[3].abs().sum() > 0
    assert all(value.grad is None for value in vars(teacher).values())


def test_a_mix_without_teacher_needs_none() -> None:
    mixes = [LossMix.parse("ce"), LossMix.parse("ce:2")]
    assert not any(mix.needs_teacher for mix in mixes)
    student = batch(2, 1)
    total, raw = mixed_loss(mixes)(student, None, torch.zeros(2, 6, dtype=torch.int64))
    torch.testing.assert_close(total, raw["ce"] * torch.tensor([1.0, 2.0]))
    some = mixed_loss([mixes[0], LossMix.parse("soft")])
    assert some.members == {"ce": (0,), "soft": (1,)} and isinstance(some.weights["ce"], Tensor)
    with pytest.raises(InputError, match="no mixes"):
        mixed_loss([])


@settings(max_examples=25, deadline=None)
@given(chosen=st.lists(st.sampled_from(MIXES), min_size=1, max_size=4), seed=st.integers(0, 1000))
def test_packing_changes_no_number(chosen, seed) -> None:
    student, teacher = batch(len(chosen), seed), batch(len(chosen), seed + 1)
    labels = torch.randint(0, 4, (len(chosen), 6), generator=torch.Generator().manual_seed(seed))
    total, _ = mixed_loss(chosen)(student, teacher, labels)
    for run, mix in enumerate(chosen):
        part = slice(run, run + 1)
        rows = [SimpleNamespace(**{k: v[part] for k, v in vars(o).items()}) for o in (student, teacher)]
        alone, _ = mixed_loss([mix])(rows[0], rows[1], labels[part])
        torch.testing.assert_close(total[part], alone, rtol=1e-5, atol=1e-6)


# Relations alone, through the training loop.


@pytest.mark.parametrize("layout", ["loop", "vmap"])
@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_relations_alone_move_the_embedding_and_leave_the_outputs(layout: str, decay: float) -> None:
    """Beside an ordinary run in one pack: the layers behind the embedding are where they began, but for weight decay."""
    random = torch.Generator().manual_seed(0)
    samples = torch.randn(24, 5, 8, 12, generator=random)
    labels = torch.arange(24) % 3
    embedding = torch.randn(1, 24, 9, generator=random)
    taught = training.Stored({"embedding": embedding, "logits": torch.randn(1, 24, 3, generator=random)})
    rows, test = np.arange(16), np.arange(16, 24)
    pack = [
        training.Run(1, 0, LossMix.parse(text), training.Task(rows, test)) for text in ("angle:40,soft:0", "angle:40")
    ]
    how = TrainSettings(model="cnn2", epochs=6, batch=4, lr=0.0003, weight_decay=decay)
    alone, usual = training.fit(samples, labels, pack, how, classes=3, teaching=taught, layout=layout)
    fresh = models.Stacked([models.network("cnn2", samples.shape[1:], 3, fold=1)])
    for name, before in fresh.state_dict().items():
        after, other = alone.state[name], usual.state[name]
        if name.startswith("linear"):
            shrunk = (after * before).sum() / (before * before).sum()
            assert shrunk == pytest.approx(1) if not decay else 0.9 < shrunk < 0.99995
            torch.testing.assert_close(after, shrunk * before)
            assert torch.equal(after, before) == (decay == 0) and not torch.allclose(other, shrunk * before)
        elif name.startswith("conv"):
            assert (after - before).abs().max() > 1e-4, name
    for record in alone.history:
        assert set(record["terms"]) == {"angle"} and record["loss"] == pytest.approx(
            40 * record["terms"]["angle"]["raw"]
        )
    assert alone.history[-1]["loss"] < alone.history[0]["loss"]
    by_itself = training.fit(samples, labels, pack[:1], how, classes=3, teaching=taught, layout=layout)[0]
    for name, value in by_itself.state.items():
        torch.testing.assert_close(value, alone.state[name], rtol=1e-4, atol=1e-6)


def test_a_term_of_weight_0_is_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    def called(*_: object, **__: object) -> Tensor:
        raise AssertionError("computed")

    monkeypatch.setattr(losses.module("soft"), "soft", called)
    monkeypatch.setattr(losses.module("ce"), "ce", called)
    mixes = [LossMix.parse(text) for text in ("angle:40,soft:0", "area,ce:0")]
    loss = mixed_loss(mixes)
    total, raw = loss(batch(2, 1), batch(2, 2), torch.zeros(2, 6, dtype=torch.int64))
    assert set(raw) == {"angle", "area"} == set(loss.keys)
    torch.testing.assert_close(total, torch.stack([40 * raw["angle"][0], 20 * raw["area"][1]]))
