"""Where rows are on their way from data to noise, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from numpy.typing import ArrayLike
from torch import Tensor, nn

from anabranch.checks import positive_int
from anabranch.densities import Density
from anabranch.gallery.dots import some_rows
from anabranch.gallery.grids import Numbers, evaluating, in_batches, read_array
from anabranch.models import DepthMixture, Flow
from anabranch.transforms import Chain, Continuous, Transform

_ROWS = 1200  # in each frame at most


@dataclass
class Frame:
    """Where the rows are at one place on their way.

    Attributes:
        name: of the place.
        points: (rows, 2); NaN where a layer is not defined.
        column: how many layers, and times of layers, came before.
        head: whether the rows are behind the head of a depth.
        noise: whether this is where the base reads them.
        below: what more there is to say.
    """

    name: str
    points: Numbers
    column: int = 0
    head: bool = False
    noise: bool = False
    below: str = ""


def frames_of(density: Density, x: Tensor | ArrayLike, times: int = 5) -> list[Frame]:
    r"""The rows after each layer, data first.

    Of a `DepthMixture` they are :math:`z_l`, and after these :math:`u_l = h_l(z_l)`, what the base reads, where there are
    heads; "below" is the share of the rows that is of each depth.

    Args:
        density: a `Flow` or a `DepthMixture` of two features, without a context.
        x: (rows, 2); of more than 1,200, so many at random.
        times: frames of each layer in continuous time.

    Raises:
        ValueError: another density, or shapes that do not fit.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> from anabranch.gallery.frames import frames_of
        >>> flow = ab.Flow(ab.flows.realnvp(features=2, blocks=2))
        >>> [frame.name for frame in frames_of(flow, torch.randn(10, 2))]
        ['data', 'affine 1', 'affine 2']
    """
    positive_int("times", times)
    if not isinstance(density, Flow | DepthMixture):
        raise ValueError(f"density: expected a Flow or a DepthMixture, got a {type(density).__name__}")
    points = read_array("x", x, 2)
    if points.shape[1] != 2:
        raise ValueError(f"x: expected shape (rows, 2), got {points.shape}")
    points = points[some_rows(len(points))[:_ROWS]]
    layers = _layers(density.transform if isinstance(density, Flow) else density.chain)
    frames = [Frame("data", points)]
    after = [frames[0]]  # each layer
    with evaluating(density):
        for name, layer in layers:
            for begin, end, title in _spans(name, layer, times):
                moved = in_batches(partial(_moved, layer, begin, end), frames[-1].points, density)
                frames.append(Frame(title, moved, len(frames)))
            after.append(frames[-1])
        if isinstance(density, Flow):
            after[-1].noise = True
            return frames
        return frames + _behind_heads(density, after)


def _behind_heads(mixture: DepthMixture, after: list[Frame]) -> list[Frame]:
    """The frames of the depths that are components; where there are no heads, what is there says it of them."""
    frames = []
    shares = in_batches(mixture.responsibilities, after[0].points, mixture).mean(axis=0)
    for i, (depth, share) in enumerate(zip(mixture.depths, shares, strict=True)):
        frame = after[depth]
        if mixture.heads is not None:
            points = in_batches(partial(_moved, mixture.heads[i], 0.0, 1.0), frame.points, mixture)
            frame = Frame(f"head of depth {depth}", points, frame.column, head=True)
            frames.append(frame)
        frame.noise, frame.below = True, f"{share:.0%} of the rows"
    return frames


def _layers(transform: Transform) -> list[tuple[str, Transform]]:
    """The layers, by name; of a layer alone, its kind."""
    if not isinstance(transform, Chain):
        return [(type(transform).__name__, transform)]
    return [(name.replace("_", " "), step) for name, step in zip(transform.blocks, transform.steps, strict=True)]


def _spans(name: str, layer: Transform, times: int) -> Iterator[tuple[float, float, str]]:
    """The times at which a layer begins and ends, or parts of it do."""
    if not isinstance(layer, Continuous):
        yield 0.0, 1.0, name
        return
    for i in range(times):
        yield i / times, (i + 1) / times, f"time {(i + 1) / times:.3g}"


def _moved(layer: nn.Module, begin: float, end: float, rows: Tensor) -> Tensor:
    """Rows (rows, 2) moved on by a layer; in continuous time without the trace, which no picture needs."""
    if not isinstance(layer, Continuous):
        after: Tensor = layer(rows)[0]
        return after

    def derivative(time: Tensor, state: Tensor) -> Tensor:
        return layer.velocity(state, time.expand(len(state)))

    moved: Tensor = layer.solver.solve(derivative, rows, begin, end, [])
    return moved
