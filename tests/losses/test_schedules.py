"""Ramps, ends and rows of terms: text, path name, weights of an epoch."""

from __future__ import annotations

import math
import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st

from pipeline import losses
from pipeline.config import InputError, TrainSettings
from pipeline.losses import LossMix, library, mixed_loss
from pipeline.losses.schedule import Ramp, value_at, weight_at
from pipeline.losses.signature import EVERY, bounds, masked, options, taken_before

NAMES = losses.names()


@pytest.mark.parametrize(
    ("text", "canonical", "slug"),
    [
        ("hinton:4..1", "hinton:4..1,soft:1", "hinton4..1+soft1"),
        ("ce,hinton@until=30@T=10..1", "ce:1,hinton:1@T=10..1@until=30", "ce1+hinton1@T_10..1@until_30"),
        ("hinton:0..4@from=5,ce", "ce:1,hinton:0..4@from=5", "ce1+hinton0..4@from_5"),
        ("soft:1..0@rows=labelled", "soft:1..0@rows=labelled", "soft1..0@rows_labelled"),
        ("ce,hinton:1@from=5,hinton:4@until=5", "ce:1,hinton:1@from=5,hinton:4@until=5", None),
        ("hinton:1e-7..2.5e12", "hinton:1e-7..2.5e12,soft:1", "hinton1e-7..2.5e12+soft1"),
        ("hinton:.5..5.", "hinton:0.5..5,soft:1", None),
        # what changes nothing is not written
        ("hinton:2..2@T=1.5..1.5@from=0@rows=all@until=inf@warm=1", "hinton:2,soft:1", "hinton2+soft1"),
        ("ce,hinton@warm=20", "ce:1,hinton:1@warm=20", "ce1+hinton1@warm_20"),
        ("angle,soft:0..0", "angle:20,soft:0", "angle20+soft0"),
    ],
)
def test_text(text: str, canonical: str, slug: str | None) -> None:
    mix = LossMix.parse(text)
    assert str(mix) == canonical and LossMix.parse(canonical) == mix == LossMix.parse(mix.slug)
    assert slug in (None, mix.slug)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hinton:4..", "the weight of hinton is '4..'; expected a number above 0, for example 20, or a ramp"),
        ("hinton:..1", "the weight of hinton is '..1'"),
        ("hinton:4...1.", "the weight of hinton is '4...1.'"),
        ("hinton:3..2..1", "the weight of hinton is '3..2..1'"),
        ("hinton:-1..3", "the weight of hinton is '-1..3'"),
        ("hinton:1..-3", "the weight of hinton is '1..-3'"),
        ("hinton:0..0", "the weight of hinton is '0..0'"),
        ("hinton:1..inf", "the weight of hinton is '1..inf'"),
        ("hinton4..x", "the weight of hinton is '4..x'"),
        (
            "hinton@T=10..0",
            "option T of hinton is '10..0'; expected a number above 0 or learned, or a ramp such as 10..1",
        ),
        ("hinton@T=..", "option T of hinton is '..'"),
        (
            "virtual@a=0.5..1",
            "option a of virtual is '0.5..1'; expected a number above 0 and below 1, or a ramp such as 0.75..0.25",
        ),
        ("tolerance@K=2..5", "option K of tolerance is '2..5'; expected a whole number of at least 2 (and no ramp)"),
        (
            "factor@k=0.2..0.5",
            "option k of factor is '0.2..0.5'; expected a number above 0 and at most 1 (and no ramp)",
        ),
        ("angle@layer=hidden..embedding", "unknown layer 'hidden..embedding'"),
        ("hinton@until=0", "option until of hinton is '0'; expected a whole number of at least 1"),
        ("hinton@until=2.5", "option until of hinton is '2.5'; expected a whole number"),
        ("hinton@from=-1", "option from of hinton is '-1'; expected a whole number of at least 0"),
        ("hinton@from=1..2", "option from of hinton is '1..2'; expected a whole number of at least 0 (and no ramp)"),
        ("hinton@from=5@until=5", "from=5 and until=5 leave no epoch"),
        ("hinton@until=3@from=8", "from=8 and until=3 leave no epoch"),
        ("hinton@warm=0", "option warm of hinton is '0'; expected a whole number of at least 1"),
        ("hinton@warm=1..5", "option warm of hinton is '1..5'; expected a whole number of at least 1 (and no ramp)"),
        (
            "hinton@warm=5@from=4",
            "warm=5 is over before from=4 lets the term begin; expected a warm of 6 or more, or none",
        ),
        ("hinton@rows=labeled", "unknown rows 'labeled', did you mean 'labelled'?"),
        ("hinton@untill=3", "unknown option 'untill' of hinton, did you mean 'until'?"),
        ("hinton:4..1,hinton:2", "'hinton' is named twice"),
    ],
)
def test_what_cannot_be_read_is_one_line(text: str, words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)) as caught:
        LossMix.parse(text)
    assert "\n" not in str(caught.value)


def test_epochs_that_there_are_not() -> None:
    mix = LossMix.parse("hinton@from=5@until=12,ce")
    mix.require(TrainSettings(epochs=12))
    for epochs, words in ((11, "until=12 of hinton"), (5, "from=5 of hinton")):
        with pytest.raises(
            InputError, match=rf"^student.epochs = {epochs}: {words} .* is beyond the last epoch"
        ) as caught:
            mix.require(TrainSettings(epochs=epochs), "student")
        assert "\n" not in str(caught.value)
    LossMix.parse("hinton@until=5").require_epochs(5)


numbers = st.floats(1e-9, 1e9)


@st.composite
def terms(draw: Any) -> str:
    """The text of a random term, with ramps, ends and rows."""
    name = draw(st.sampled_from(NAMES))
    first, last = draw(numbers | st.just(0.0)), draw(numbers)
    text = name + draw(st.sampled_from(["", f":{last!r}", f":{first!r}..{last!r}", f":{last!r}..{first!r}"]))
    waiting = library.constant(name, "WITH", {})
    for key, option in options(name).items():
        if option.ramps and key not in waiting and key not in taken_before(name) and draw(st.booleans()):
            low, high, _, _ = bounds(option.interval)
            inside = st.floats(max(low, 1e-9), min(high, 1e9), exclude_min=True, exclude_max=True)
            text += f"@{key}={draw(inside)!r}..{draw(inside)!r}"
    start = draw(st.integers(0, 40))
    text += draw(st.sampled_from(["", f"@from={start}"])) + draw(st.sampled_from(["", f"@until={start + 1}"]))
    text += draw(st.sampled_from(["", f"@warm={start + 2}"]))
    if library.fewest(name) == 1 or masked(name):
        text += draw(st.sampled_from(["", "@rows=labelled", "@rows=unlabelled"]))
    try:
        LossMix.parse(text)
    except InputError as error:  # the only numbers that are right alone, and may be refused together
        assert str(error).startswith("margin: m_lo = "), text
        reject()
    return text


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(terms(), min_size=1, max_size=4), data=st.data())
def test_round_trips(texts: list[str], data: st.DataObject) -> None:
    assume(len({re.split("[:@]", text)[0] for text in texts}) == len(texts))
    mix = LossMix.parse(",".join(texts))
    assert LossMix.parse(",".join(data.draw(st.permutations(texts)))) == mix
    assert LossMix.parse(str(mix)) == mix == LossMix.parse(mix.slug) and hash(LossMix.parse(mix.slug)) == hash(mix)
    assert re.fullmatch(r"[A-Za-z0-9_.@+-]+", mix.slug) and "/" not in mix.slug and mix.slug.strip(".")
    assert all(set(term.arguments) <= set(options(term.name)) for term in mix.terms)


# The weights of an epoch.


def test_ramps() -> None:
    assert [value_at(Ramp(4, 1), epoch, 4) for epoch in range(4)] == [4, 3, 2, 1]
    assert value_at(Ramp(4, 1), 0, 1) == 4 and value_at(2, 7, 9) == 2
    for epochs in (2, 3, 7, 40):
        values = [value_at(Ramp(0.3, 0.1), epoch, epochs) for epoch in range(epochs)]
        assert values[0] == 0.3 and values[-1] == 0.1 and values == sorted(values, reverse=True)
        for epoch, value in enumerate(values):
            assert value == pytest.approx(0.3 + (0.1 - 0.3) * epoch / (epochs - 1), rel=1e-12)


def test_ends() -> None:
    options_ = {"from": 1, "until": 3}
    assert [weight_at(Ramp(4, 1), options_, epoch, 4) for epoch in range(4)] == [0, 3, 2, 0]
    assert [weight_at(5, {"until": 2}, epoch, 4) for epoch in range(4)] == [5, 5, 0, 0]
    assert [weight_at(5, {"from": 2}, epoch, 4) for epoch in range(4)] == [0, 0, 5, 5]


def test_warm_up() -> None:
    """The weight · min((e + 1) / n, 1), e from 0: as DKD's authors count, whose first epoch does teach."""
    assert [weight_at(8, {"warm": 4}, epoch, 6) for epoch in range(6)] == [2, 4, 6, 8, 8, 8]
    assert [weight_at(8, {"warm": 4}, epoch, 2) for epoch in range(2)] == [2, 4]  # shorter than the warm-up
    assert [weight_at(8, {"warm": 4, "from": 1, "until": 4}, epoch, 6) for epoch in range(6)] == [0, 4, 6, 8, 0, 0]
    assert [weight_at(Ramp(4, 1), {"warm": 2}, epoch, 4) for epoch in range(4)] == [2, 3, 2, 1]
    loss = mixed_loss([LossMix.parse("ce,hinton:3@warm=3"), LossMix.parse("ce")])
    for epoch, expected in enumerate((1, 2, 3, 3)):
        loss.set_epoch(epoch, 4)
        assert loss.weights["hinton@warm=3"].tolist() == [expected, 0] and loss.weights["ce"].tolist() == [1, 1]
    text = LossMix.parse("ce,hinton@warm=20,angle@warm=20@from=5").explain()
    assert "epochs   its weight grows from 1/20 of it in the first to all of it in epoch 20" in text
    assert "epochs   from 6 on; its weight is 0 before; its weight grows from 1/20" in text


def outputs(runs: int, seed: int) -> SimpleNamespace:
    random = torch.Generator().manual_seed(seed)
    return SimpleNamespace(
        embedding=torch.randn(runs, 6, 5, generator=random), logits=torch.randn(runs, 6, 4, generator=random)
    )


def test_an_epoch_is_filled_in_place() -> None:
    """What a captured graph reads stays where it is; every run has its own weights."""
    mixes = [LossMix.parse(t) for t in ("hinton:4..1,ce", "hinton:2,ce@from=1", "hinton@T=9..1,ce", "ce:1..0")]
    loss = mixed_loss(mixes)
    places = {key: weights.data_ptr() for key, weights in loss.weights.items()}
    student, teacher, labels = outputs(4, 1), outputs(4, 2), torch.arange(6).expand(4, 6) % 4
    expected = {
        "hinton": [[4, 2, 0, 0], [2.5, 2, 0, 0], [1, 2, 0, 0]],
        "ce": [[1, 0, 1, 1], [1, 0, 1, 0.5], [1, 0, 1, 0]],
    }
    for epoch, T in enumerate((9.0, 5.0, 1.0)):
        loss.set_epoch(epoch, 3)
        assert {key: weights.data_ptr() for key, weights in loss.weights.items()} == places
        for key, of_epochs in expected.items():
            assert loss.weights[key].tolist() == of_epochs[epoch]
        assert loss.weights["ce@from=1"].tolist() == [0, float(epoch > 0), 0, 0]
        total, raw = loss(student, teacher, labels)
        log_t, log_s = (torch.log_softmax(one.logits[2] / T, -1) for one in (teacher, student))
        hinton = T**2 * (log_t.exp() * (log_t - log_s)).sum(-1).mean()
        torch.testing.assert_close(raw["hinton@T=9..1"][2], hinton)
        torch.testing.assert_close(total[2], hinton + raw["ce"][2])
        torch.testing.assert_close(total[0], expected["hinton"][epoch][0] * raw["hinton"][0] + raw["ce"][0])


def test_rows_of_a_mean_over_clips_and_of_pairs() -> None:
    """Against plain loops; the clips that count stand anywhere."""
    student, teacher = outputs(1, 3), outputs(1, 4)
    labels = torch.tensor([[0, -1, 2, -1, 1, 3]])
    mixes = "hinton:1@rows=labelled,soft:1@rows=unlabelled,distance:1@rows=labelled,ce:1@rows=labelled"
    _, raw = mixed_loss([LossMix.parse(mixes)])(student, teacher, labels)
    counted = [n for n in range(6) if labels[0, n] >= 0]
    p_t = [torch.softmax(teacher.logits[0, n] / 1.5, -1).tolist() for n in range(6)]
    p_s = [torch.softmax(student.logits[0, n] / 1.5, -1).tolist() for n in range(6)]
    divergence = [1.5**2 * sum(t * math.log(t / s) for t, s in zip(p_t[n], p_s[n])) for n in range(6)]
    assert raw["hinton@rows=labelled"].item() == pytest.approx(sum(divergence[n] for n in counted) / 4, rel=1e-5)
    soft = 0.0
    for n in (1, 3):
        t, s = (torch.softmax(one.logits[0, n], -1).tolist() for one in (teacher, student))
        soft -= sum(a * math.log(b) for a, b in zip(t, s)) / 2
    assert raw["soft@rows=unlabelled"].item() == pytest.approx(soft, rel=1e-5)
    pairs = [(i, j) for i in counted for j in counted if i != j]
    relative = []
    for one in (student, teacher):
        apart = {(i, j): math.dist(one.embedding[0, i].tolist(), one.embedding[0, j].tolist()) for i, j in pairs}
        mean = sum(apart.values()) / len(pairs)
        relative.append({pair: value / mean for pair, value in apart.items()})
    huber = [abs(relative[0][pair] - relative[1][pair]) for pair in pairs]
    expected = sum(0.5 * d * d if d <= 1 else d - 0.5 for d in huber) / len(pairs)
    assert raw["distance@rows=labelled"].item() == pytest.approx(expected, rel=1e-5)
    plain = mixed_loss([LossMix.parse("ce")])(
        SimpleNamespace(logits=student.logits[:, counted]), None, labels[:, counted]
    )
    torch.testing.assert_close(raw["ce@rows=labelled"], plain[1]["ce"])


def test_explain_says_it_in_words() -> None:
    text = LossMix.parse("hinton:4..1@T=10..1@until=30,ce@from=2,angle@rows=labelled,area@from=1@until=2").explain()
    for words in (
        "hinton@T=10..1@until=30: weight 4..1, linearly from 4 in the first epoch to 1 in the last (given)",
        "epochs   1 to 30 only; its weight is 0 in the others",
        "epochs   2 only; its weight is 0 in the others",
        "epochs   from 3 on; its weight is 0 before",
        "T = 10..1, linearly from 10 in the first epoch to 1 in the last",
        "rows     labelled clips of a batch only",
        "Outputs that are read: of the student embedding, logits; of the teacher embedding, logits",
    ):
        assert words in text, text


FILE = '''"""Of options of every kind."""
from typing import Annotated, Literal

def kinds(student, teacher, labels, *, part: Annotated[float, "[0, 1)"] = 0.5, count: int = 3, most: Annotated[int, "[2, 9]"] = 4,
          flag: bool = False, level: Literal[1, 2] = 1, {more}):
    return student.logits.square().mean((-2, -1)) * (part + count + most + flag + level)
'''


def test_an_option_takes_what_its_type_says(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "__path__", [*losses.__path__, str(tmp_path)])
    (tmp_path / "kinds.py").write_text(FILE.format(more="any_number=2"))
    mix = LossMix.parse("kinds@part=0@count=7@most=9@flag=true@level=2@any_number=2.5,soft:0")
    assert mix.terms[0].arguments == {"any_number": 2.5, "count": 7, "flag": True, "level": 2, "most": 9, "part": 0}
    assert type(mix.terms[0].arguments["count"]) is int and LossMix.parse(mix.slug) == mix == LossMix.parse(str(mix))
    assert (
        str(LossMix.parse("kinds@part=0.5@count=3@most=4@flag=false@level=1@any_number=2,soft:0")) == "kinds:1,soft:0"
    )
    assert "part = 0.5, count = 3, most = 4, flag = false, level = 1" in LossMix.parse("kinds").explain()
    for text, words in (
        ("part=1", "'1'; expected a number of at least 0 and below 1"),
        ("count=0", "'0'; expected a whole number of at least 1"),
        ("count=2.5", "'2.5'; expected a whole number"),
        ("most=10", "'10'; expected a whole number of at least 2 and at most 9"),
        ("flag=yes", "unknown flag 'yes'; expected one of true, false"),
        ("level=3", "unknown level '3'; expected one of 1, 2"),
        ("any_number=0", "'0'; expected a number above 0"),
    ):
        with pytest.raises(InputError, match=re.escape(words)):
            LossMix.parse(f"kinds@{text}")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("until=3", "until is an option of every loss; expected another name"),
        ('x: Annotated[float, "0 to 1"] = 0.5', "'0 to 1' is no interval"),
        ("x=None", "x = None; expected a number, a word, True or False"),
    ],
)
def test_an_option_that_cannot_be(tmp_path: Any, monkeypatch: pytest.MonkeyPatch, more: str, words: str) -> None:
    monkeypatch.setattr(losses, "__path__", [*losses.__path__, str(tmp_path)])
    (tmp_path / "kinds.py").write_text(FILE.format(more=more))
    with pytest.raises(InputError, match=words) as caught:
        LossMix.parse("kinds")
    assert "\n" not in str(caught.value)


def test_the_text_of_a_file_says_what_importing_it_does(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it computes, imports, or decorates: then it is imported. ``EVERY`` has no loss of that name."""
    from pipeline.losses import signature

    for name in NAMES:
        assert {key: signature.option(key, *rest) for key, *rest in signature.imported(name)} == options(name)
        for constant in (
            "FORMULA",
            "SOURCE",
            "READS",
            "TEACHER",
            "WEIGHT",
            "ROWS",
            "MIX",
            "WITH",
            "adapter",
            "reduced",
        ):
            absent = object()
            assert library.constant(name, constant, absent) == getattr(losses.module(name), constant, absent) or not (
                library.has(name, constant)
            )
    monkeypatch.setattr(losses, "__path__", [*losses.__path__, str(tmp_path)])
    (tmp_path / "computed9.py").write_text(
        '"""Computed."""\nimport math\nfrom pipeline.losses.angle import READS, ROWS as FEWEST\nWEIGHT = math.sqrt(16)\n'
        "ROWS = FEWEST\nif ROWS:\n    TEACHER = ()\n"
        "def computed9(student, teacher, labels, *, T=2 * math.pi):\n    return student.embedding.sum((-2, -1)) * T\n"
    )
    mix = LossMix.parse("computed9,soft:0")
    assert mix.terms[0].weight == 4 and mix.rows == 3 and mix.reads == ("embedding",) and not mix.needs_teacher
    assert options("computed9")["T"].default == pytest.approx(2 * math.pi) and not set(EVERY) & set(NAMES)
