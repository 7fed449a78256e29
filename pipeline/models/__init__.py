"""The networks, one file each: a class or function of the file's name, (shape, classes) → ordinary PyTorch.

A network maps standardised x (B, C, H, W) to ``Outputs`` by name: ``logits``, ``embedding``, ``hidden``, ``map1``, …. The
folder is the list; to add a network, add a file. It needs to know neither standardisation nor the runs axis: ``network``
puts the one before it, ``stacked`` makes R of them one. First weights come from a generator of (name, seed, fold) alone.

``NAME+16``: the network with a linear layer of 16 in place of the classes, which is its embedding; it names no classes, and its logits are
zeros (``spaces``).

``REUSES = "linear"`` of a network's file: this layer is the output layer of whoever teaches it, given by a term that fetches it, and frozen
(SimKD, Chen et al. 2022).

Begin with ``cnn2``. Imports: config.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline import modules, plugins
from pipeline.config import InputError

# torch comes when a network is asked for: what only names networks (a finished stage) does without.
if TYPE_CHECKING:
    from torch import nn

    from pipeline.models.outputs import Outputs
    from pipeline.models.single import Maker, Network
    from pipeline.models.stacked import Stacked

__all__ = ["Network", "Outputs", "Stacked", "build", "names", "network", "parameters"]

#: The most numbers of an embedding in place of the classes.
WIDEST = 65_536

#: Name → its module, imported when the name is asked for.
LATER = {"Network": "single", "Outputs": "outputs", "Stacked": "stacked"}


def __getattr__(name: str) -> Any:
    if name not in LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{LATER[name]}"), name)


def names() -> tuple[str, ...]:
    """The networks there are: the modules of this folder that define a class or function of their own name."""
    return modules.named(__name__, "def|class")


def require(name: str) -> None:
    """``InputError`` for the name of a network that is not there; nothing is imported."""
    base, plus, width = name.replace("-", "_").partition("+")
    if base not in names():
        raise InputError(f"no model {name!r}; expected one of {', '.join(names())}")
    if plus and not (width.isascii() and width.isdecimal() and width[0] != "0" and int(width[:9]) <= WIDEST):
        raise InputError(
            f"model {name!r}: expected the width of its embedding behind the +, 1 to {WIDEST}, for example {base}+16"
        )


def width_of(name: str) -> int:
    """Of ``NAME+16`` 16; 0 of a network that names classes."""
    width = name.partition("+")[2]
    return int(width) if width.isascii() and width.isdecimal() else 0


def reuses(name: str) -> str:
    """The layer of a network that is its teacher's: ``REUSES`` of its file; "" where all layers are its own. No torch here."""
    module = f"{__name__}.{name.replace('-', '_').partition('+')[0]}"
    try:
        return str(modules.constant(module, "REUSES"))
    except KeyError:
        return ""
    except modules.Computed:
        return str(getattr(importlib.import_module(module), "REUSES", ""))


def network(
    name: str, shape: Sequence[int], classes: int, *, seed: int = 0, fold: int = 0, dropout: float = 0.0
) -> Network:
    """The network ``name`` of one run for inputs (channel, bin, frame), with the first weights of (seed, fold).

    ``dropout``: the share of its ``Dropout`` layers in training, whose draws are of (seed, fold) as well.

    Raises ``InputError`` for an unknown name, an input that is too small, no class, or dropout of a network that has no place for it.
    """
    from pipeline.models import spaces
    from pipeline.models.single import first_network

    name = name.replace("-", "_")
    require(name)
    if len(shape) != 3 or min(shape) < 1:
        raise InputError(f"{name}: input shape {tuple(shape)}; expected (channels, bins, frames), each at least 1")
    if classes < 1:
        raise InputError(f"{name}: {classes} classes; expected at least 1")
    base, width = name.partition("+")[0], width_of(name)
    maker: Maker = getattr(importlib.import_module(f"{__name__}.{base}"), base)
    made = spaces.of_width(maker, width) if width else maker
    return first_network(name, made, shape, classes, seed, fold, dropout)


def build(name: str, shape: Sequence[int], classes: int, runs: int = 1) -> Stacked:
    """``runs`` networks as one (``Stacked``); run r has the first weights of seed 0 and fold r.

    Raises ``InputError`` as ``network`` does, and for fewer than one run.
    """
    from pipeline.models.stacked import Stacked

    if runs < 1:
        raise InputError(f"{name}: {runs} runs; expected at least 1")
    return Stacked([network(name, shape, classes, fold=run) for run in range(runs)])


def parameters(module: nn.Module) -> int:
    """Trainable parameters of one run."""
    from pipeline.models.stacked import Stacked

    if isinstance(module, Stacked):
        return sum(parameter[0].numel() for parameter in module.parameters())
    return sum(parameter.numel() for parameter in module.parameters())


plugins.extend("models", __path__)
