"""Networks whose last layer is an embedding in place of the classes, for metric learning (Park et al. 2019, section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import nn

from pipeline.models.outputs import Outputs
from pipeline.models.single import Maker


def of_width(maker: Maker, width: int) -> Maker:
    """A maker of the same body with ``width`` numbers in place of the classes."""

    def body(shape: Sequence[int], classes: int) -> nn.Module:
        made = maker(shape, width)
        made.register_forward_hook(partial(as_embedding, classes=classes))  # the names of its weights stay as they are
        return made

    return body


def as_embedding(body: nn.Module, inputs: Any, outputs: Outputs, *, classes: int) -> Outputs:
    """What would be logits is the embedding; logits are zeros (..., classes), with a gradient of zero."""
    space = outputs.logits
    none = (space.sum(-1, keepdim=True) * 0).expand(*space.shape[:-1], classes)
    return Outputs({**outputs, "embedding": space, "logits": none})
