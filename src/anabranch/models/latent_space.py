"""Uses of the latent space of flows: draws at a temperature, interpolation, and the error of a round trip."""

from __future__ import annotations

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from anabranch.checks import instance_of, positive, positive_int
from anabranch.densities import Density, Dequantized
from anabranch.draws import drawing
from anabranch.transforms import Transform

# an angle between two latent points below which the way between them is a line, to the digits of float32
_PARALLEL = 1e-3


def at_temperature(density: Density, temperature: float) -> Density:
    r"""The density whose base has T times the deviation: p_T(x) = p_{Z, T}(f(x)) |det df/dx|, with z = mu + T (z' - mu).

    Draws with T below 1 are nearer to the mode of the base, and images mostly look cleaner. The result is a density with the
    kind of likelihood that the density at T = 1 has. A mixture from depth keeps its gate, which reads the z of this base.
    Transforms, gate and noise are shared with the given density; the base is a copy.

    Source: Kingma and Dhariwal, 2018, "Glow", arXiv:1807.03039, section 6 (draws at reduced temperature).

    Args:
        density: a `Flow` or a `DepthMixture` on a normal base without a context, or a `Dequantized` of one.
        temperature: T, above 0.

    Raises:
        ValueError: a temperature of 0 or less, or a density that has no normal base.

    Example:
        >>> import anabranch as ab
        >>> from anabranch.models import at_temperature
        >>> cool = at_temperature(ab.Flow(ab.flows.realnvp(features=2)), 0.7)
        >>> cool.log_prob(cool.sample((5,))).shape
        torch.Size([5])
    """
    instance_of("density", density, Density)
    made = density.at_temperature(positive("temperature", temperature))
    if made is None:
        raise ValueError(
            "density: expected a flow or a mixture from depth on a normal base without a context, or levels by one, got a "
            f"{type(density).__name__}; an Autoregressive has draws_at_temperature"
        )
    return made.train(density.training)


def interpolate(
    density: Density,
    start: Tensor | ArrayLike,
    end: Tensor | ArrayLike,
    count: int = 8,
    context: Tensor | ArrayLike | None = None,
    generator: torch.Generator | int | None = None,
) -> Tensor:
    r"""Events between two events, along the great circle through their latent points: (count, *event).

    .. math:: x_t = f^{-1}\!\left(\frac{\sin((1 - t) \omega)\, z_0 + \sin(t \omega)\, z_1}{\sin \omega}\right), \qquad
              z_i = f(x_i), \quad \omega = \angle(z_0, z_1), \quad t = 0, \ldots, 1

    In many dimensions, draws of a standard normal density lie near a sphere. A straight line would lead through the middle
    of the sphere, where there are hardly any draws.

    Source: White, 2016, arXiv:1609.04468, section 2.1.

    Args:
        density: a `Flow` on a standard normal base, or a `Dequantized` of one: levels are dequantised first, by one draw.
        start, end: x_0 and x_1, (*event).
        count: number of events, both ends included.
        context: one context, (*context), if the density takes one.
        generator: of the draws, as of `sample`.

    Raises:
        ValueError: a density that is not made of noise by a transform that runs both ways; fewer than two events; levels
            that are none; a batch of events in place of one.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> from anabranch.models import interpolate
        >>> flow = ab.Flow(ab.flows.glow((1, 4, 4), levels=1, steps=1, hidden=4, blocks=1))
        >>> interpolate(flow, torch.zeros(1, 4, 4), torch.ones(1, 4, 4), count=5).shape
        torch.Size([5, 1, 4, 4])
    """
    count = positive_int("count", count, least=2)
    with torch.no_grad(), drawing(generator):
        ends = [_read(density, name, x, context) for name, x in (("start", start), ("end", end))]
        for name, one in zip(("start", "end"), ends, strict=True):
            if one.shape != density.event_shape:
                raise ValueError(
                    f"{name}: expected one event of shape {tuple(density.event_shape)}, got shape {tuple(one.shape)}"
                )
        steps, given = _steps(density, context)
        shapes = [ends[0].shape]
        rows = torch.stack(ends)
        for step in steps:
            rows = step(rows, given)[0]
            shapes.append(rows.shape[1:])
        first, last = rows.flatten(1)
        cosine = (first @ last / (first.norm() * last.norm()).clamp(min=torch.finfo(first.dtype).tiny)).clamp(-1, 1)
        angle = cosine.acos()
        share = torch.linspace(0, 1, count, dtype=first.dtype, device=first.device).unsqueeze(-1)
        around = (((1 - share) * angle).sin() * first + (share * angle).sin() * last) / angle.sin()
        # parallel or opposite points have no circle
        straight = (angle < _PARALLEL) | (angle > torch.pi - _PARALLEL)
        z = torch.where(straight, (1 - share) * first + share * last, around).reshape(count, *shapes[-1])
        for step in reversed(steps):
            z = step.inverse(z, given)[0]
        return density.quantize(z) if isinstance(density, Dequantized) else z


def reconstruction_error(
    density: Density,
    x: Tensor | ArrayLike,
    context: Tensor | ArrayLike | None = None,
    generator: torch.Generator | int | None = None,
) -> Tensor:
    """The largest difference, within each event, between x and the inverse of its latent point: (*batch).

    It is the rounding error of a round trip through the transform. If the density is over levels, the error is that of the
    dequantised x, in units of a level: below 1/2, hardly a pixel comes back as another level.

    Args:
        density: as of `interpolate`.
        x: (*batch, *event).
        context: the context or contexts.
        generator: of the draws, as of `sample`.

    Raises:
        ValueError: as `interpolate`.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> from anabranch.models import reconstruction_error
        >>> flow = ab.Flow(ab.flows.realnvp(features=2))
        >>> bool(reconstruction_error(flow, torch.randn(10, 2)).max() < 1e-4)
        True
    """
    with torch.no_grad(), drawing(generator):
        y = _read(density, "x", x, context)
        steps, given = _steps(density, context)
        z = y
        for step in steps:
            z = step(z, given)[0]
        for step in reversed(steps):
            z = step.inverse(z, given)[0]
        if isinstance(density, Dequantized):
            y, z = density.shares(y) * density.levels, density.shares(z) * density.levels
        return (z - y).abs().flatten(-len(density.event_shape)).amax(dim=-1)


def _read(density: Density, name: str, x: Tensor | ArrayLike, context: Tensor | ArrayLike | None) -> Tensor:
    """x as a tensor of real numbers, levels dequantised."""
    instance_of("density", density, Density)
    if isinstance(density, Dequantized):
        return density.dequantize(x, context, name=name)
    return density._checked(x, context, name)[0]


def _steps(density: Density, context: Tensor | ArrayLike | None) -> tuple[list[Transform], Tensor | None]:
    """The transforms from real numbers to noise, and the context as they take it."""
    inner = density.density if isinstance(density, Dequantized) else density
    found = inner.noise_space(inner._checked_context(context))
    if found is None:
        raise ValueError(
            "density: expected a flow on a standard normal base, whose transform runs both ways, or levels by one, got a "
            f"{type(inner).__name__}; of a mixture from depth take Flow(mixture.chain, mixture.base)"
        )
    return found
