"""The steps of a fit as CUDA graphs."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Hashable
from typing import Any, Literal

import torch
from torch import Tensor

from anabranch.checks import one_of
from anabranch.draws import drawing
from anabranch.training.rows import Rows
from anabranch.training.step import Step

_LOG = logging.getLogger("anabranch")

# Steps of a shape that run one operation at a time before its graph is recorded: kernels are chosen and compiled in them.
_WARM = 3
# Shapes of which graphs are kept. Rows in memory come in two at most.
_MOST = 8

Graph = bool | Literal["auto"]


def shall_record(graph: Graph, step: Step, device: torch.device) -> bool:
    """Decide whether steps are recorded as CUDA graphs, and say in one line of the log why not, if "auto" says no on CUDA.

    Raises:
        ValueError: neither a truth value nor "auto", or True where there can be none.
    """
    if not isinstance(graph, bool):
        one_of("graph", graph, ("auto",))
    if graph is False or (device.type != "cuda" and graph == "auto"):
        return False
    missing = _missing(step, device)
    if missing and graph is True:
        raise ValueError(f"graph: expected False or 'auto', since {missing}, got True")
    if missing:
        _LOG.info("fit: no CUDA graph, since %s", missing)
    return not missing


def _missing(step: Step, device: torch.device) -> str:
    """Why there can be no graph, in words; "" if there can."""
    if device.type != "cuda":
        return f"the fit runs on {device.type}"
    if step.processes.count > 1:
        return "several processes share the steps"
    if step.objective is not None and not step.objective.static:
        return f"a step of {type(step.objective).__name__} is not the same operations each time"
    if not step.optimiser.on_device:
        return f"updates of {type(step.optimiser.inner).__name__} cannot be left out on the device; make it fused"
    return ""


class Recorded:
    """Takes steps over static buffers, and from the fourth of a shape on by a replay of a CUDA graph.

    A step is hundreds of small kernels, and to launch them one by one takes many times as long as they run. A graph is
    launched as one. As PyTorch's notes on CUDA graphs ask for, the first steps of a shape run on a side stream; gradients
    are none when recording begins, and so lie in the graph's memory; random numbers come from a generator that the graph
    knows. Recorded or not, a step gives the same numbers up to the order in which a device adds.

    Where a step turns out to wait for the device, or cannot be recorded for another reason, the fit goes on without
    graphs, and a line of the log "anabranch" says why.

    Args:
        step: to take.
        device: a CUDA device.
        insist: whether to raise what stands in the way.
    """

    def __init__(self, step: Step, device: torch.device, insist: bool = False) -> None:
        self.step, self.insist = step, insist
        self.generator = torch.Generator(device)
        self.side: torch.cuda.Stream = torch.cuda.Stream(device)
        self.shapes: dict[Hashable, _Shape] = {}
        self.pool: Any = None
        self.refused = ""

    @property
    def graphs(self) -> int:
        """How many have been recorded."""
        return sum(shape.graph is not None for shape in self.shapes.values())

    def __call__(self, rows: Rows, index: Tensor, count: int, progress: float, seed: int) -> None:
        """Take a step, as `Step` does."""
        key = _key(rows)
        if self.refused or (key not in self.shapes and len(self.shapes) == _MOST):
            self.step(rows, index, count, progress, seed)
            return
        shape = self.shapes.get(key)
        if shape is None:
            shape = self.shapes[key] = _Shape(rows, index)
        shape.fill(rows, index)
        if shape.graph is None and shape.warm == _WARM and not self._try(shape, count, progress, seed):
            self.step(rows, index, count, progress, seed)
            return
        if shape.graph is None:
            self._warm(shape, count, progress, seed)
            return
        self.generator.manual_seed(seed)
        shape.graph.replay()

    def _warm(self, shape: _Shape, count: int, progress: float, seed: int) -> None:
        """Take a step on the side stream, one operation at a time."""
        shape.warm += 1
        here = torch.cuda.current_stream()
        self.side.wait_stream(here)
        with torch.cuda.stream(self.side):
            self.step(shape.rows, shape.index, count, progress, seed)
        here.wait_stream(self.side)

    def _try(self, shape: _Shape, count: int, progress: float, seed: int) -> bool:
        """Record the graph of a shape, or say why there will be none; whether there is one."""
        try:
            self._record(shape, count, progress, seed)
        except Exception as error:  # of any kind: a step is the user's code too
            if self.insist:
                raise
            self.refused = str(error).partition("\n")[0] or type(error).__name__
            self.shapes.clear()
            _LOG.info("fit: no CUDA graph, since a step could not be recorded (%s)", self.refused)
            return False
        return True

    def _record(self, shape: _Shape, count: int, progress: float, seed: int) -> None:
        self.step.optimiser.zero()
        self._rehearse(shape, progress, seed)
        graph = torch.cuda.CUDAGraph()
        self.generator.manual_seed(seed)
        graph.register_generator_state(self.generator)
        recording = torch.cuda.graph(graph, pool=self.pool, capture_error_mode="thread_local")
        # what is recorded does not run: the step itself is the first replay
        with self.step.optimiser.recorded(), recording, drawing(self.generator, recorded=True):
            self.step.run(shape.rows, shape.index, count, progress)
        self.pool = graph.pool()
        shape.graph = graph

    def _rehearse(self, shape: _Shape, progress: float, seed: int) -> None:
        """Compute losses and gradients to no effect, and raise RuntimeError at whatever waits for the device.

        Waiting while a graph is recorded would leave the device's random numbers unusable.
        """
        before = torch.cuda.get_sync_debug_mode()
        here = torch.cuda.current_stream()
        self.side.wait_stream(here)
        try:
            with warnings.catch_warnings():
                # PyTorch warns that not all that waits is seen
                warnings.simplefilter("ignore")
                torch.cuda.set_sync_debug_mode("error")
            with torch.cuda.stream(self.side), drawing(seed):
                self.step.gradients(shape.rows, shape.index, progress)
        finally:
            torch.cuda.set_sync_debug_mode(before)
            here.wait_stream(self.side)
            self.step.optimiser.zero()


class _Shape:
    """The static buffers of the batches of one shape, and the graph that reads them."""

    def __init__(self, rows: Rows, index: Tensor) -> None:
        context, labels, weights = (
            None if value is None else torch.empty_like(value) for value in (rows.context, rows.labels, rows.weights)
        )
        numbers, self.index = torch.empty_like(rows.numbers), torch.empty_like(index, device=rows.x.device)
        self.rows = Rows(torch.empty_like(rows.x), context, numbers, labels, weights)
        self.graph: torch.cuda.CUDAGraph | None = None
        self.warm = 0

    def fill(self, rows: Rows, index: Tensor) -> None:
        """Copy a batch to where the graph reads it."""
        self.index.copy_(index, non_blocking=True)
        for name in ("x", "context", "labels", "weights"):
            buffer, value = getattr(self.rows, name), getattr(rows, name)
            if buffer is not None:
                buffer.copy_(value, non_blocking=True)


def _key(rows: Rows) -> Hashable:
    return tuple(
        None if value is None else (value.shape, value.dtype)
        for value in (rows.x, rows.context, rows.labels, rows.weights)
    )
