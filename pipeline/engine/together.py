"""The answer of two networks together: an assistant and the student whose misses it learned, by their teacher's output layer.

logits = W_T (v_S + v_A) + b_T, v_S and v_A what the adapters of both make of them (Gao, Shen, Li and Loy 2020, on the embedding).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline import cache
from pipeline.engine import subsets
from pipeline.engine.outputs import teacher_of
from pipeline.engine.records import payload_of
from pipeline.figures import evaluation
from pipeline.label_sets import mean_average_precision
from pipeline.losses import Term, library
from pipeline.models import Network, Outputs, saved
from pipeline.models.based import Based
from pipeline.runs import Record
from pipeline.runs.planned import PlannedRun
from pipeline.teacher_files import is_teacher_file
from pipeline.training import Trained
from pipeline.training.inference import CHUNK


def judged(run: PlannedRun, record: Record, data: cache.Data, trained: Trained) -> Trained:
    """``trained``, and among its terms' figures the held-out accuracy (mean average precision) of both networks together, for a run
    that has a base."""
    if run.base is None or trained.failure:
        return trained
    test, labels = subsets.held_out(run, data)
    logits = logits_together(run, payload_of(record, data, trained), data, test)
    if logits is None:
        return trained
    key = learned(run).key
    if data.label_sets:
        figure = {"mean average precision with its base": mean_average_precision(labels, logits)}
    else:
        figure = {"accuracy with its base": evaluation.accuracy(logits, labels)}
    return replace(trained, terms={**trained.terms, key: {**trained.terms.get(key, {}), **figure}})


def learned(run: PlannedRun) -> Term:
    """The term that reads what the base says."""
    return next(term for term in run.mix.terms if "base" in (library.teacher_reads(term.name) or ()))


@torch.no_grad()
def logits_together(run: PlannedRun, payload: dict[str, Any], data: cache.Data, test: np.ndarray) -> np.ndarray | None:
    """Of the clean clips ``test`` (clips,) → (clips, classes) float32; ``payload``: the assistant's ``model.pt``.

    None where its teacher has no output layer that is known: a file, an ensemble, scaled cosines.
    """
    if len(run.teachers) != 1 or is_teacher_file(run.teachers[0]):
        return None
    adapter = payload["adapters"][f"{learned(run).key} linear.weight"][0]
    both: Any = teacher_of(run.teachers[0], run.network.teacher_epoch, run.base)
    assert isinstance(both, Based)
    assistant = saved.network_of(payload, "last")
    answers = []
    for part in torch.from_numpy(np.ascontiguousarray(data.features[test, 0])).split(CHUNK):
        beside = both(part)
        output_layer = output_layer_of(both.teacher, beside)
        if output_layer is None:
            return None
        answers.append(output_layer(beside.base + F.linear(assistant(part).hidden, adapter)))
    return torch.cat(answers).float().numpy()


def output_layer_of(network: Network, outputs: Outputs) -> Callable[[Tensor], Tensor] | None:
    """What a network makes of its embedding: its last linear layers, with ReLU between; None where that does not give its logits."""
    layers = [module for module in network.body.modules() if isinstance(module, nn.Linear)]
    for first, layer in enumerate(layers):
        if layer.in_features == outputs.embedding.shape[-1]:

            def answer(x: Tensor, last: tuple[nn.Linear, ...] = tuple(layers[first:])) -> Tensor:
                for inner in last[:-1]:
                    x = inner(x).relu()
                result: Tensor = last[-1](x)
                return result

            if torch.allclose(answer(outputs.embedding), outputs.logits, rtol=1e-4, atol=1e-4):
                return answer
    return None
