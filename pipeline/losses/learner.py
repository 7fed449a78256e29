"""R networks that learn, with the adapters that their terms bring: forward, and backward from the gradients of the outputs.

The losses are computed on the outputs of all runs at once, cut off from the networks; their gradients go back through them.
On a CPU the networks run one by one, spread over threads; on a GPU as one, by ``vmap``. Whoever steps does not see which.
All weights are one flat tensor (R, P).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pipeline.config import InputError
from pipeline.losses.adapting import listens
from pipeline.losses.mixed import ADAPTED
from pipeline.models import Network, Outputs, Stacked
from pipeline.models.freezing import hold_still, is_frozen
from pipeline.models.outputs import chosen
from pipeline.models.stacked import flattened

#: How R networks are computed: one by one over threads, or as one.
LAYOUTS = ("loop", "vmap")

#: The batch of some runs: a slice of them → (B, R', C, H, W).
Inputs = Callable[[slice], Tensor]


class Adapted(nn.Module):
    """A network's body and the adapters of its terms, which speak in training only.

    The output ``adapted KEY`` is what the adapter of a term says; ``adapted KEY NAME`` where it says several things by name.
    """

    def __init__(self, body: nn.Module, adapters: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.body = body
        self.keys = tuple(adapters)
        self.adapters = nn.ModuleList(adapters.values())

    def forward(self, x: Tensor, taught: Mapping[str, Tensor] | None = None) -> Outputs:
        outputs: Outputs = self.body(x)
        return self.adapted(outputs, taught) if self.training else outputs

    def adapted(self, outputs: Outputs, taught: Mapping[str, Tensor] | None = None) -> Outputs:
        """The body's outputs, and what the adapters make of them, and of what the teacher says where they have a side for it."""
        whole = dict(outputs)
        for key, adapter in zip(self.keys, self.adapters):
            values = adapter(outputs, taught) if listens(adapter) else adapter(outputs)
            if isinstance(values, Mapping):
                whole |= {f"{ADAPTED} {key} {name}": value for name, value in values.items()}
            else:
                whole[f"{ADAPTED} {key}"] = values
        return Outputs(whole)


class Learner:
    """R networks under training. ``reads``: the outputs that are kept, besides the logits; None: all.

    ``freeze``: names of modules that stay as they are (``pipeline.listed``)."""

    def __init__(
        self,
        networks: Sequence[Network],
        adapters: Sequence[Mapping[str, nn.Module]],
        layout: str,
        reads: Sequence[str] | None,
        device: torch.device,
        dtype: torch.dtype,
        precision: str = "float32",
        freeze: Sequence[str] = (),
    ) -> None:
        if layout not in LAYOUTS:
            raise InputError(f"layout {layout!r}; expected one of {', '.join(LAYOUTS)}")
        keys = adapters[0].keys()
        if any(modules.keys() != keys for modules in adapters):
            raise InputError(
                "runs with different adapters in one pack; expected the same terms with an adapter in each: "
                "train them in packs of their own"
            )
        self.layout, self.adapters, self.freeze = layout, tuple(keys), tuple(freeze)
        self.reads = None if reads is None else ("logits", *reads)
        self.device, self.precision = device, precision
        self.undecayed = {
            f"adapters.{number}.{name}" for number, key in enumerate(keys) for name in undecayed(adapters[0][key])
        }
        if keys:
            for network, modules in zip(networks, adapters):
                network.body = Adapted(network.body, {key: modules[key] for key in keys})  # in one order
        self.stacked = Stacked(networks).to(device, dtype).train()
        self.weights = flattened(self.stacked)
        self.singles = [self.stacked.single(run) for run in range(self.runs)] if layout == "loop" else []
        self.train()
        self.workers: ThreadPoolExecutor | None = None
        self._outputs: dict[int, Outputs] = {}

    @property
    def runs(self) -> int:
        return self.stacked.runs

    def train(self) -> None:
        """Training mode, in which modules that are frozen stay in evaluation mode: batch norm uses and keeps its statistics."""
        for network in (self.stacked, *self.singles):
            network.train()
            hold_still(self.freeze, body_of(network))

    @property
    def frozen(self) -> Tensor | None:
        """(P,) which of the weights stay as they are; None where all learn."""
        if not self.freeze:
            return None
        parts = [
            torch.full((parameter[0].numel(),), is_frozen(self.freeze, self.own_name(name)), device=self.device)
            for name, parameter in self.stacked.named_parameters()
        ]
        return torch.cat(parts)

    @property
    def decays(self) -> Tensor | None:
        """(P,) which of the weights decay: all but those that an adapter names in ``undecayed``; None: all."""
        if not self.undecayed:
            return None
        parts = [
            torch.full((parameter[0].numel(),), name not in self.undecayed, device=self.device)
            for name, parameter in self.stacked.named_parameters()
        ]
        return torch.cat(parts)

    def own_name(self, name: str) -> str:
        """A parameter's name in the network; of an adapter's one that no module has."""
        if not self.adapters:
            return name
        return name.removeprefix("body.") if name.startswith("body.") else ""

    def statistics(self) -> dict[str, Tensor]:
        """The buffers that a step may write: batch norm's running statistics, each (R, ...)."""
        return self.stacked.state()[1]

    def state(self) -> dict[str, Tensor]:
        """The networks' ``state_dict`` with the runs axis, without the adapters."""
        state = self.stacked.state_dict()
        if not self.adapters:
            return state
        return {name.removeprefix("body."): value for name, value in state.items() if not name.startswith("adapters.")}

    def adapters_state(self) -> dict[str, Tensor]:
        """The adapters' alone: ``KEY NAME``, a term's key and a tensor of its adapter, with the runs axis."""
        state = self.stacked.state_dict() if self.adapters else {}
        return {
            f"{key} {name.removeprefix(start)}": value
            for number, key in enumerate(self.adapters)
            for name, value in state.items()
            if name.startswith(start := f"adapters.{number}.")
        }

    @property
    def listens(self) -> bool:
        """Whether an adapter has a side for what teachers say."""
        return any(listens(adapter) for adapter in getattr(self.stacked, "adapters", ()))

    def forward(self, inputs: Inputs, alive: Tensor | None, taught: Mapping[str, Tensor] | None = None) -> Outputs:
        """What the networks say, cut off from them: every output (R, B, ...) is a leaf that requires a gradient.

        ``alive`` (R,): runs that take part; the outputs of the others are 0 or of no account. None: all. ``taught``: what teachers say,
        (R, B, ...), where an adapter ``listens``.
        """
        taught = taught if self.listens else None
        if self.layout == "loop":
            everyone = range(self.runs) if alive is None else alive.nonzero()[:, 0].tolist()
            self._outputs = {}

            def run_forward(run: int) -> None:
                with self.autocast():  # in the thread that computes
                    heard = () if taught is None else ({name: value[run] for name, value in taught.items()},)
                    self._outputs[run] = self.kept(self.singles[run](inputs(slice(run, run + 1))[:, 0], *heard))

            self.spread(run_forward, everyone)
            return together(self._outputs, self.runs)
        with self.autocast():
            self._outputs = {
                0: self.kept(self.stacked.mapped(inputs(slice(None)), *(() if taught is None else (taught,))))
            }
        return Outputs({name: value.detach().requires_grad_() for name, value in self._outputs[0].items()})

    def backward(self, grad_outputs: Mapping[str, Tensor | None], then: Callable[[slice, Tensor], None]) -> None:
        """Back through the networks from the gradients of ``forward``'s outputs; ``then(runs, gradients (R', P))`` each."""
        if self.layout == "loop":

            def run_backward(run: int) -> None:
                part = {
                    name: laid_out(gradient[run]) for name, gradient in grad_outputs.items() if gradient is not None
                }
                then(slice(run, run + 1), gradients(self.singles[run], self._outputs.pop(run), part)[None])

            self.spread(run_backward, list(self._outputs))
        else:
            part = {name: gradient for name, gradient in grad_outputs.items() if gradient is not None}
            then(slice(None), gradients(self.stacked, self._outputs.pop(0), part, axis=1))

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, self.precision == "bfloat16")

    def kept(self, outputs: Outputs) -> Outputs:
        if self.reads is None:
            return outputs
        names = {*chosen(self.reads, outputs), *(name for name in outputs if name.startswith(f"{ADAPTED} "))}
        return Outputs({name: value for name, value in outputs.items() if name in names})

    @contextmanager
    def unchanged(self, alive: Tensor | None) -> Iterator[None]:
        """Batch norm's running statistics of runs that take no part stay as they are (``vmap`` computes all runs)."""
        if alive is None or self.layout == "loop":
            yield
            return
        before = {name: buffer.clone() for name, buffer in self.statistics().items()}
        yield
        for name, buffer in self.statistics().items():
            buffer.copy_(torch.where(alive.view(-1, *[1] * (buffer.ndim - 1)), buffer, before[name]))

    def spread(self, work: Callable[[int], None], runs: Sequence[int]) -> None:
        """``work(run)`` for each run, in threads where there are any; the first exception is raised."""
        if self.workers is None or len(runs) == 1:
            for run in runs:
                work(run)
        else:
            for _ in self.workers.map(work, runs):
                pass

    @torch.no_grad()
    def logits(self, inputs: Callable[[slice, slice], Tensor], count: int, active: Sequence[int], chunk: int) -> Tensor:
        """Logits (R, count, classes) in evaluation mode; 0 for runs not ``active``.

        ``inputs(runs, part)``: the samples (n, R', C, H, W) of a part of the ``count`` rows of some runs.
        """
        logits = self.weights.new_zeros(self.runs, count, self.stacked.classes)
        parts = [slice(start, start + chunk) for start in range(0, count, chunk)]

        def evaluate(run: int) -> None:
            with torch.no_grad():
                for part in parts:
                    logits[run, part] = self.singles[run](inputs(slice(run, run + 1), part)[:, 0]).logits

        networks: list[nn.Module] = [*self.singles] or [self.stacked]
        for network in networks:
            network.eval()
        if self.layout == "loop":
            self.spread(evaluate, active)
        else:
            for part in parts:
                logits[:, part] = self.stacked.mapped(inputs(slice(None), part)).logits
        self.train()
        return logits


def body_of(network: nn.Module) -> nn.Module:
    """The network's own layers, without the adapters."""
    body: nn.Module = network.body  # type: ignore[assignment]
    return body.body if isinstance(body, Adapted) else body


def undecayed(adapter: nn.Module) -> tuple[str, ...]:
    """The parameters of an adapter that weight decay leaves alone."""
    names: tuple[str, ...] = getattr(adapter, "undecayed", ())
    return names


def laid_out(gradient: Tensor) -> Tensor:
    """A map's gradient (B, K, H, W) with its channels last, however the terms left it: another order is another rounding."""
    return gradient.contiguous(memory_format=torch.channels_last) if gradient.ndim == 4 else gradient


def gradients(network: nn.Module, outputs: Outputs, grad_outputs: Mapping[str, Tensor], axis: int = 0) -> Tensor:
    """Gradient (P,) of Σ outputs · grad_outputs, in the order of ``flattened``; (R, P) where parameters lead with R (axis 1)."""
    values = [outputs[name] for name in grad_outputs]
    parts = torch.autograd.grad(
        values,
        list(network.parameters()),
        list(grad_outputs.values()),
        materialize_grads=True,
        allow_unused=True,
    )
    return torch.cat([part.flatten(axis) for part in parts], axis)


def together(outputs: Mapping[int, Outputs], runs: int) -> Outputs:
    """The runs' outputs as one, cut off from their networks; zeros for runs that took no part.

    Contiguous, as a selection of some runs is: the order in memory decides how terms round.
    """
    some = next(iter(outputs.values()))
    filler = Outputs({name: torch.zeros_like(value) for name, value in some.items()}) if len(outputs) < runs else some
    parts = [outputs.get(run, filler) for run in range(runs)]
    return Outputs(
        {name: torch.stack([part[name].detach() for part in parts]).contiguous().requires_grad_() for name in some}
    )
