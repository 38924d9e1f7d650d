"""The processes that a fit runs on."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Processes:
    """This process among those that `accelerate launch` has started, one by default; each takes its share of every batch.

    Devices, processes and gradients across them are accelerate's.

    Args:
        device: where to train, if there is one process; several have one each.
        unused: whether a step may leave parameters without a gradient.
    """

    def __init__(self, device: torch.device, unused: bool) -> None:
        # slow to import, and only needed here
        from accelerate import Accelerator, DistributedDataParallelKwargs  # noqa: PLC0415

        # We place everything ourselves: the device is the caller's choice, not the machine's best.
        options = [DistributedDataParallelKwargs(find_unused_parameters=unused)]
        self._accelerator = Accelerator(device_placement=False, kwargs_handlers=options)
        self.count: int = self._accelerator.num_processes
        self.index: int = self._accelerator.process_index
        self.main: bool = self._accelerator.is_main_process
        self.device: torch.device = self._accelerator.device if self.count > 1 else device

    def shared(self, module: nn.Module) -> nn.Module:
        """The module, whose gradients all processes share."""
        prepared: nn.Module = self._accelerator.prepare(module)
        return prepared

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a number over the processes."""
        if self.count == 1:
            return value
        mean: Tensor = self._accelerator.reduce(value, reduction="mean")
        return mean
