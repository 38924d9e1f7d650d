"""Whether a transform is one-to-one, as far as points can tell, and the point where it is not."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from anabranch.checks import written
from anabranch.draws import drawing
from anabranch.testing.expectations import expect
from anabranch.transforms import Transform
from anabranch.transforms.domain import is_everything, of_intervals, period_of


def drawn_events(transform: Transform, rows: int = 6) -> tuple[Tensor, Tensor | None]:
    """Some events within a transform's domain, and contexts, the same every time.

    Raises:
        ValueError: its event shape is not known, or its domain is no interval for each number.
    """
    shape, name = transform.event_shape, type(transform).__name__
    if shape is None:
        raise ValueError(f"x: expected rows of data, since {name} takes events of any shape, got None")
    with drawing(0):
        x = of_intervals(transform.domain, 2 * torch.randn(rows, *shape))
        context = None if transform.context_shape is None else torch.randn(rows, *transform.context_shape)
    if x is None or _has_hidden_domain(transform):
        where = transform.domain if x is None else "left to its parts"
        raise ValueError(f"x: expected rows of data, since the domain of {name} is {where}, got None")
    return x, context


def _has_hidden_domain(transform: Transform) -> bool:
    """Whether the parts have domains that the whole does not tell, such as those of a chain."""
    parts = (part for part in transform.modules() if isinstance(part, Transform))
    return is_everything(transform.domain) and not all(is_everything(part.domain) for part in parts)


def check_bijection(transform: Transform, x: Tensor, context: Tensor | None = None) -> None:
    """The determinant of the Jacobian is nowhere 0 and of one sign, a map of one number rises or falls throughout, and every
    point comes back.

    All is taken at x, at 0 and at some hundred points around x, those in the domain, in float64. A continuous map of a
    connected domain that fails is not one-to-one, or has no differentiable inverse. One that passes may still fail between
    the points. Where the inverse is an iteration, a NaN at points other than x is its right; where two x have one z, the
    inverse gives one of them, and the other shows. On a circle both ends are one point.

    Args:
        transform: in float32.
        x: (rows, *event).
        context: (rows, *context), if it takes one.

    Raises:
        AssertionError: it fails; the message says at which point.

    Example:
        >>> import torch
        >>> from anabranch.testing.bijection import check_bijection
        >>> from anabranch.transforms import Differentiable
        >>> check_bijection(Differentiable(torch.nn.Tanh(), 1), torch.randn(5, 1))
        >>> class Square(torch.nn.Module):
        ...     def forward(self, x):
        ...         return x.square()
        >>> check_bijection(Differentiable(Square(), 1), torch.tensor([[1.0], [2.0]]))
        Traceback (most recent call last):
            ...
        AssertionError: Differentiable: expected a Jacobian that is nowhere singular, got a determinant of 0 at x = [0.0]
    """
    transform = copy.deepcopy(transform).double()
    x, context = _around(transform, x.double(), None if context is None else context.double())
    z, log_det, jacobian = _jacobians(transform, x, context)
    if _has_hidden_domain(transform):
        within = ~log_det.isneginf()
        x, z, jacobian = x[within], z[within], jacobian[within]
        context = None if context is None else context[within]
    finite = jacobian.isfinite().flatten(1).all(dim=-1)
    where = _first(~finite)
    expect(finite.all(), transform, f"expected a Jacobian of finite numbers, got others at x = {written(x[where])}")
    sign, _ = torch.linalg.slogdet(jacobian)
    where = _first(sign == 0)
    expect(
        sign.all(),
        transform,
        f"expected a Jacobian that is nowhere singular, got a determinant of 0 at x = {written(x[where])}",
    )
    where = _first(sign != sign[0])
    expect(
        (sign == sign[0]).all(),
        transform,
        "expected a determinant of the Jacobian of one sign, as a one-to-one map has, got "
        f"{float(torch.linalg.det(jacobian[0])):.4g} at x = {written(x[0])} and "
        f"{float(torch.linalg.det(jacobian[where])):.4g} at x = {written(x[where])}",
    )
    if x[0].numel() == 1 and context is None:
        _check_order(transform, x.flatten(), sign[0] * z.flatten())
    if transform.inversion != "none":
        _check_return(transform, x.detach(), z, context, jacobian)


def _check_return(transform: Transform, x: Tensor, z: Tensor, context: Tensor | None, jacobian: Tensor) -> None:
    """Every x comes back from its z, up to the rounding of z times the slope of the way back."""
    iterates = "iterative" in (transform.inversion, transform.scoring)
    with torch.no_grad():
        back = around_circle(transform, transform.inverse(z, context)[0], x)
    slope = torch.linalg.matrix_norm(torch.linalg.inv(jacobian), ord=torch.inf)
    size, room = x.flatten(1).abs().amax(dim=-1), 1 + z.flatten(1).abs().amax(dim=-1)
    limit = max(1e-4 if iterates else 1e-8, transform.error) * (1 + size)
    limit = limit + _ROUNDINGS * torch.finfo(x.dtype).eps * slope * (room + size)
    off = (back - x).flatten(1).abs().amax(dim=-1)
    astray = ~(off <= limit)
    if iterates:
        astray = astray & ~off.isnan()
    where = _first(astray)
    expect(
        not astray.any(),
        transform,
        "round trip in torch.float64: expected every x to come back from its z, got "
        f"{written(back[where])} at x = {written(x[where])}",
    )


def around_circle(transform: Transform, got: Tensor, wanted: Tensor) -> Tensor:
    """What came back, with a number at one end of a circle moved to the other end where the wanted one lies there.

    A circle is told by the domain of a part, and of an inverse by the codomain too.
    """
    parts = [part for part in transform.modules() if isinstance(part, Transform)]
    told = (period_of(domain) for part in parts for domain in (part.domain, part.codomain))
    for period in {period for period in told if period is not None}:
        turned = got + torch.sign(wanted - got) * period
        ends = torch.minimum(wanted.abs(), (wanted - period).abs()) < _NEAR_THE_END * period
        got = torch.where(ends & ((turned - wanted).abs() < (got - wanted).abs()), turned, got)
    return got


def _check_order(transform: Transform, x: Tensor, z: Tensor) -> None:
    """One number: z, turned so that its slope is positive, rises with x, also across jumps."""
    order = x.argsort()
    x, z = x[order], z[order]
    # equal up to rounding is where it saturates
    falls = z.diff() < -1e-9 * (1 + z[:-1].abs())
    where = _first(falls)
    expect(
        not falls.any(),
        transform,
        f"expected z to rise or fall throughout, got a jump back between x = {written(x[where])} and "
        f"{written(x[min(where + 1, len(x) - 1)])}",
    )


def _around(transform: Transform, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """x, 0 and points further and further from x, within the domain, with the contexts of their rows."""
    copies = max(1, _POINTS // len(x))
    rows = torch.arange(len(x)).repeat(copies + 2)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(copies, *x.shape, generator=generator, dtype=x.dtype)
    scales = torch.linspace(0.1, 3, copies, dtype=x.dtype).reshape(-1, *[1] * x.dim())
    points = torch.cat([x.unsqueeze(0), torch.zeros_like(x).unsqueeze(0), x + scales * noise]).flatten(0, 1)
    if not is_everything(transform.domain):
        inside = transform.domain.check(points)
        points, rows = points[inside], rows[inside]
    return points, None if context is None else context[rows]


def _jacobians(transform: Transform, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """z, log_det, and the Jacobian of every row, (rows, numbers, numbers): each row of z depends on that of x alone."""
    x = x.requires_grad_()
    z, log_det = transform(x, context)
    gradients = [
        torch.autograd.grad(z.flatten(1)[:, i].sum(), x, retain_graph=True, materialize_grads=True)[0]
        for i in range(x[0].numel())
    ]
    return z.detach(), log_det.detach(), torch.stack(gradients, dim=1).flatten(2)


def _first(flags: Tensor) -> int:
    """The number of the first row that is flagged; 0 if none is."""
    return int(flags.to(torch.uint8).argmax()) if flags.numel() else 0


_POINTS = 240
# how many roundings of z the way back may have, and how near to an end of a circle a point lies at it
_ROUNDINGS, _NEAR_THE_END = 1000, 1e-3
