"""Nothing of the held-out fold reaches the training: not its audio, not its noisy view, not its statistics."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from pipeline import cache, config, training
from pipeline.engine import packs
from pipeline.losses import LossMix

FOLDS = (1, 2, 3)
SETTINGS = config.TrainSettings(model="cnn2", epochs=2, lr=0.01)


def made_up(seed: int = 0, clips: int = 12) -> cache.Data:
    """Features of three folds: noise around a level of the class."""
    rng = np.random.default_rng(seed)
    spec = config.FeatureSpec(seconds=0.5, bins=8, bins_per_octave=24)
    labels = np.tile(np.arange(2), clips * len(FOLDS) // 2).astype(np.int64)
    folds = np.repeat(FOLDS, clips).astype(np.int64)
    features = rng.normal(size=(len(labels), 2, *spec.shape)).astype(np.float32)
    features += labels[:, None, None, None, None]
    names = tuple(f"{i}.wav" for i in range(len(labels)))
    return cache.Data(
        features=features,
        labels=labels,
        folds=folds,
        clips=names,
        sources=names,
        classes=("low", "high"),
        corpus="made-up",
        synthetic=True,
        spec=spec,
        skipped={},
        digests={fold: str(fold) for fold in FOLDS},
    )


def trained(data: cache.Data, fold: int) -> training.Trained:
    values, labels = packs.samples(data, torch.device("cpu"), "float32")
    run = training.Run(fold, 0, LossMix.parse("ce"), training.Task(*packs.rows(data, fold)))
    (result,) = training.fit(values, labels, [run], SETTINGS, classes=2, teaching=None, device=torch.device("cpu"))
    return result


@pytest.mark.parametrize("fold", FOLDS)
def test_rows_are_the_other_folds_both_views_and_the_folds_clean_view(fold: int) -> None:
    data = made_up()
    train, test = packs.rows(data, fold)
    # Plain loops: row = clip × 2 + view.
    expected_train = [2 * i + view for i in range(36) if data.folds[i] != fold for view in (0, 1)]
    expected_test = [2 * i for i in range(36) if data.folds[i] == fold]
    assert train.tolist() == expected_train
    assert test.tolist() == expected_test


def test_the_held_out_folds_audio_changes_no_weight_and_no_statistic() -> None:
    data = made_up()
    changed = dataclasses.replace(data, features=data.features.copy())
    changed.features[data.folds == 2] = made_up(seed=9).features[data.folds == 2] * 50
    one, other = trained(data, 2), trained(changed, 2)
    assert one.state.keys() == other.state.keys()
    for name in one.state:  # weights, and the buffers with the normalisation
        assert torch.equal(one.state[name], other.state[name]), name
    assert not np.array_equal(one.logits, other.logits)  # the test did change what is tested on


def test_the_noisy_view_of_the_held_out_fold_is_never_read() -> None:
    data = made_up()
    poisoned = dataclasses.replace(data, features=data.features.copy())
    poisoned.features[data.folds == 3, 1] = np.nan
    one, other = trained(data, 3), trained(poisoned, 3)
    for name in one.state:
        assert torch.equal(one.state[name], other.state[name]), name
    assert np.array_equal(one.logits, other.logits)
    assert [r["accuracy"] for r in one.history] == [r["accuracy"] for r in other.history]


def test_a_training_folds_audio_does_change_the_weights() -> None:
    """The tests above could pass if nothing were read at all."""
    data = made_up()
    changed = dataclasses.replace(data, features=data.features.copy())
    changed.features[data.folds == 1] += 1
    assert any(
        not torch.equal(a, b) for a, b in zip(trained(data, 2).state.values(), trained(changed, 2).state.values())
    )
