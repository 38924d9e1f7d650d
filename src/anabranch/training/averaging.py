"""The mean of the weights over the last steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from anabranch.torch_internals import foreach_lerp


class Average:
    r"""w_bar <- d w_bar + (1 - d) w after each step, with a shorter memory at first: d is at most (1 + t) / (10 + t).

    Weights that still move about with every batch have a mean that is better than they are.
    Source: Polyak and Juditsky, 1992; the exponential form as in Tarvainen and Valpola, 2017, arXiv:1703.01780.

    Args:
        module: whose parameters.
        decay: d, in [0, 1); 0 for the weights as they are.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.parameters: list[torch.Tensor] = [p for p in module.parameters() if p.requires_grad] if decay else []
        self.mean = [p.detach().clone() for p in self.parameters]

    def restart(self) -> None:
        """Forget all steps: what was set from data has changed the weights otherwise than by steps."""
        self.steps = 0
        with torch.no_grad():
            for mean, parameter in zip(self.mean, self.parameters, strict=True):
                mean.copy_(parameter)

    def step(self) -> None:
        """Take in the weights after a step."""
        if not self.mean:
            return
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            foreach_lerp(self.mean, self.parameters, 1 - decay)

    def state(self) -> tuple[int, list[torch.Tensor]]:
        """All that it knows, to be restored."""
        return self.steps, [mean.clone() for mean in self.mean]

    def restore(self, state: tuple[int, list[torch.Tensor]]) -> None:
        """Back to what `state` gave."""
        self.steps, means = state
        if [mean.shape for mean in self.mean] != [kept.shape for kept in means]:
            raise ValueError(f"expected means of {len(self.mean)} parameters in their shapes, got others")
        with torch.no_grad():
            for mean, kept in zip(self.mean, means, strict=True):
                mean.copy_(kept)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The module has the mean weights for a while."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        with torch.no_grad():
            for mean, parameter in zip(self.mean, self.parameters, strict=True):
                kept = parameter.clone()
                parameter.copy_(mean)
                mean.copy_(kept)
