"""What a network says about a batch, by name."""

from __future__ import annotations

from torch import Tensor


class Outputs(dict[str, Tensor]):
    """Name → tensor, also as attributes: ``outputs.logits`` is ``outputs["logits"]``.

    ``logits`` (..., B, classes); ``embedding`` (..., B, D), what the relational losses see; ``hidden`` (..., B, D2), the
    layer before the output; ``map1``, ``map2``, … (..., B, K, H, W), the value before the last ReLU of each stage.
    Leading axes are runs.
    """

    def __getattr__(self, name: str) -> Tensor:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"no output {name!r}; there are {', '.join(self)}") from None
