"""What updates the weights of a fit."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from anabranch.densities import Density
from anabranch.torch_internals import leaves_updates_out
from anabranch.transforms import Transform

Groups = list[dict[str, Any]]
Factory = Callable[[Groups], torch.optim.Optimizer]

# of a group: what belongs to the machine, and is not taken from a file
_HERE = ("lr", "fused", "foreach", "capturable")


class Optimiser:
    """An optimiser of torch whose rates are shares of the highest, and which makes no update where a flag says so.

    Fused optimisers of torch read such a flag on the device (it is what gradient scaling tells them of overflows). For
    others, and on the CPU, where nothing is lost by it, the flag is looked at before each update.

    Args:
        density: whose parameters.
        learning_rate: the highest.
        weight_decay: of the weight matrices of networks; see `decayed_and_not`.
        device: of the parameters.
        factory: makes the optimiser of parameter groups, which hold "params", "lr", "weight_decay", and
            "matrices", whether they are weights of networks; AdamW by default.

    Raises:
        ValueError: the factory makes something else, or leaves parameters out.
    """

    def __init__(
        self,
        density: Density,
        learning_rate: float,
        weight_decay: float,
        device: torch.device,
        factory: Factory | None = None,
    ) -> None:
        groups = [group | {"lr": learning_rate} for group in decayed_and_not(density, weight_decay)]
        self.inner = _adamw(groups, device) if factory is None else _made(factory, groups)
        self.highest = [float(group["lr"]) for group in self.inner.param_groups]
        self.on_device = device.type != "cpu" and leaves_updates_out(self.inner)
        if self.on_device:
            # a CUDA graph would hold a number for ever; a tensor it reads
            for group, rate in zip(self.inner.param_groups, self.highest, strict=True):
                group["lr"] = torch.tensor(rate, device=device)

    def set_rate(self, factor: float) -> None:
        """Let the next updates have this share of the highest rates."""
        for group, highest in zip(self.inner.param_groups, self.highest, strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(highest * factor)
            else:
                group["lr"] = highest * factor

    def zero(self) -> None:
        """Forget the gradients."""
        self.inner.zero_grad(set_to_none=True)

    def step(self, unsound: Tensor) -> None:
        """Update the parameters, unless `unsound` is 1."""
        if self.on_device:
            self.inner.found_inf = unsound  # type: ignore[attr-defined]
        elif bool(unsound):
            return
        self.inner.step()

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """While a CUDA graph of updates is recorded. Outside of it torch would warn of what this allows."""
        before = [group.get("capturable", False) for group in self.inner.param_groups]
        for group in self.inner.param_groups:
            group["capturable"] = True
        try:
            yield
        finally:
            for group, was in zip(self.inner.param_groups, before, strict=True):
                group["capturable"] = was

    def memory(self) -> list[dict[str, Any]]:
        """What it remembers of each parameter, copied."""
        return [copy.deepcopy(dict(self.inner.state.get(parameter, {}))) for parameter in self._parameters()]

    def put_back(self, memory: list[dict[str, Any]]) -> None:
        """Remember what it had remembered, in the same tensors, for a CUDA graph may read them."""
        with torch.no_grad():
            for parameter, values in zip(self._parameters(), memory, strict=True):
                now = self.inner.state[parameter] if values else {}
                for name, value in values.items():
                    if isinstance(value, Tensor):
                        now[name].copy_(value)
                    else:
                        now[name] = copy.deepcopy(value)

    def state(self) -> dict[str, Any]:
        """All that it knows."""
        return self.inner.state_dict()

    def restore(self, state: dict[str, Any]) -> None:
        """Know what it knew."""
        here = [{name: group[name] for name in _HERE if name in group} for group in self.inner.param_groups]
        self.inner.load_state_dict(state)
        for group, values in zip(self.inner.param_groups, here, strict=True):
            group.update(values)

    def _parameters(self) -> list[Tensor]:
        return [parameter for group in self.inner.param_groups for parameter in group["params"]]


def decayed_and_not(density: Density, weight_decay: float) -> Groups:
    """Decay the weight matrices of networks; leave alone biases and whatever transforms and densities hold themselves.

    Means, scales, knots and linear maps have no zero that is simpler than another value.
    """
    weights = {
        id(parameter)
        for module in density.modules()
        if not isinstance(module, (Transform, Density))
        for name, parameter in module.named_parameters(recurse=False)
        if name == "weight" and parameter.dim() > 1
    }
    parameters = [p for p in density.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if id(p) in weights], "weight_decay": weight_decay, "matrices": True},
        {"params": [p for p in parameters if id(p) not in weights], "weight_decay": 0.0, "matrices": False},
    ]


def _made(factory: Factory, groups: Groups) -> torch.optim.Optimizer:
    wanted = {id(parameter) for group in groups for parameter in group["params"]}
    inner = factory(groups)
    if not isinstance(inner, torch.optim.Optimizer):
        raise ValueError(
            f"optimizer: expected a function that makes a torch.optim.Optimizer, got a {type(inner).__name__}"
        )
    if isinstance(inner, torch.optim.LBFGS):
        raise ValueError(
            "optimizer: expected one that takes a step by gradients alone, got an LBFGS, which asks for losses"
        )
    missing = wanted - {id(parameter) for group in inner.param_groups for parameter in group["params"]}
    if missing:
        raise ValueError(
            f"optimizer: expected one of all {len(wanted)} parameters of the groups that it is given, got one that lacks "
            f"{len(missing)}; freeze those that are not to be trained"
        )
    return inner


def _adamw(groups: Groups, device: torch.device) -> torch.optim.Optimizer:
    # one loop over all weights where there is one; it is the same update
    return torch.optim.AdamW(groups, fused=device.type in ("cpu", "cuda") or None)
