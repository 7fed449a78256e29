"""R networks as one: every parameter and buffer leads with the runs axis, and nothing flows from one run to another.

The weights are kept together; ``single`` gives a run's own network on the same memory. R networks are computed one by one
(on a CPU, where threads share them) or by ``torch.func.vmap`` over the ordinary network (on a GPU, where launches count).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

from pipeline.config import InputError
from pipeline.models.outputs import Outputs
from pipeline.models.single import Network, standardised, typed


class Stacked(nn.Module):
    """x (B, R, C, H, W), or (B, C, H, W) where R = 1 → ``Outputs`` whose axes start with (run, batch)."""

    mean: Tensor
    std: Tensor

    def __init__(self, networks: Sequence[Network]) -> None:
        super().__init__()
        first = networks[0]
        self.name, self.shape, self.classes, self.runs = first.name, first.shape, first.classes, len(networks)
        self.register_buffer("mean", torch.stack([network.mean for network in networks]))
        self.register_buffer("std", torch.stack([network.std for network in networks]))
        take_over(self, side_by_side([network.body for network in networks]))
        # What one run computes; its own weights are never read. Not a submodule: it is no part of the state.
        self.__dict__["body"] = copy.deepcopy(first.body)

    def train(self, mode: bool = True) -> Stacked:
        self.__dict__["body"].train(mode)
        return super().train(mode)

    def forward(self, x: Tensor) -> Outputs:
        if x.ndim == 4 and self.runs == 1:
            x = x.unsqueeze(1)
        if tuple(x.shape[1:]) != (self.runs, *self.shape):
            expected = f"(batch, {self.runs}, {', '.join(map(str, self.shape))})"
            raise InputError(f"{self.name}: input of shape {tuple(x.shape)}; expected {expected}")
        return self.ordinary(x[:, 0]) if self.runs == 1 else self.mapped(x)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Parameters and buffers of the body by name, all with the runs axis."""
        buffers = {name: buffer for name, buffer in self.named_buffers() if name not in ("mean", "std")}
        return dict(self.named_parameters()), buffers

    def ordinary(self, x: Tensor) -> Outputs:
        """The only run, without ``vmap``: bit for bit what its own network says."""
        # squeeze, not [0]: the gradient of an index is a copy into zeros, and loses the memory format
        weights, buffers = ({name: value.squeeze(0) for name, value in part.items()} for part in self.state())
        outputs = functional_call(
            self.__dict__["body"], (weights, buffers), (standardised(x, self.mean[0], self.std[0]),)
        )
        return typed(Outputs({name: value.unsqueeze(0) for name, value in outputs.items()}), self.mean.dtype)

    def mapped(self, x: Tensor, taught: Mapping[str, Tensor] | None = None) -> Outputs:
        """All runs by ``vmap`` over the ordinary network. Batch norm writes its statistics into the stacked buffers.

        ``taught``: what each run's teacher says of its batch, name → (R, B, ...), for a body that listens.
        """
        body = self.__dict__["body"]

        def one_run(weights: dict[str, Tensor], buffers: dict[str, Tensor], *given: Any) -> dict[str, Tensor]:
            return dict(functional_call(body, (weights, buffers), given))

        x = ((x - self.mean) / self.std).transpose(0, 1)
        with Float32BatchNorm():
            outputs = torch.func.vmap(one_run)(*self.state(), x, *(() if taught is None else (dict(taught),)))
        return typed(Outputs(outputs), self.mean.dtype)

    def single(self, run: int) -> Network:
        """The network of one run, whose weights and buffers are those of this one, not copies."""
        network = Network(self.name, copy.deepcopy(self.__dict__["body"]), self.shape, self.classes)
        network.to(self.mean.device)
        tensors = {
            "mean": network.mean,
            "std": network.std,
            **dict(network.body.named_parameters()),
            **dict(network.body.named_buffers()),
        }
        whole = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        for name, tensor in tensors.items():
            tensor.data = whole[name].data[run]
        return network.train(self.training)


class Float32BatchNorm(TorchFunctionMode):
    """Batch norm takes its input in the type of its statistics: under autocast ``vmap``'s does not mix them itself."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is F.batch_norm and args[1] is not None:  # (input, running mean, running variance, …)
            args = (args[0].to(args[1].dtype), *args[1:])
        return function(*args, **(kwargs or {}))


def side_by_side(bodies: Sequence[nn.Module]) -> nn.Module:
    """A module of the first body's structure in which every parameter and buffer holds those of all bodies."""
    whole = copy.deepcopy(bodies[0])
    parts = [dict(body.named_modules()) for body in bodies]
    for path, module in whole.named_modules():
        each = [part[path] for part in parts]
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = nn.Parameter(torch.stack([one._parameters[name].detach() for one in each]))
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.stack([one._buffers[name] for one in each])
    return whole


def take_over(owner: nn.Module, body: nn.Module) -> None:
    """Make the parameters, buffers and submodules of ``body`` those of ``owner``, under the same names."""
    for name, parameter in body._parameters.items():
        owner.register_parameter(name, parameter)
    for name, buffer in body._buffers.items():
        owner.register_buffer(name, buffer, persistent=name not in body._non_persistent_buffers_set)
    for name, child in body.named_children():
        owner.add_module(name, child)


@torch.no_grad()
def flattened(network: Stacked) -> Tensor:
    """Weights (R, P) of R networks; their parameters become views of them."""
    parameters = list(network.parameters())
    weights = torch.cat([parameter.flatten(1) for parameter in parameters], 1)
    start = 0
    for parameter in parameters:
        stop = start + parameter[0].numel()
        parameter.data = weights[:, start:stop].unflatten(1, parameter.shape[1:])
        start = stop
    return weights
