"""A flow in continuous time: data drift along a vector field until they are noise."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.func import functional_call

from anabranch.checks import instance_of, one_of
from anabranch.networks import Network
from anabranch.transforms.jacobian import Rows, jacobian, pulled_back
from anabranch.transforms.solver import Solver, as_solver
from anabranch.transforms.transform import Transform

Trace = Literal["exact", "hutchinson"]


class Continuous(Transform):
    r"""z = x(1), where x(t) starts at x(0) = x and moves along a vector field v:

    .. math:: \frac{dx}{dt} = v(x, t, c), \qquad
              \log |\det \partial z / \partial x| = \int_0^1 \operatorname{tr} \frac{\partial v}{\partial x}(x(t), t, c)\, dt

    The inverse goes from time 1 to time 0. Both directions are as exact as the solver (`Adaptive`, `Fixed`) makes them. A
    row that holds a NaN or an infinity becomes NaN; it does not affect other rows.

    The exact trace takes D passes back through the network for each evaluation of the field. Hutchinson's trace takes one:
    it is e^T (dv/dx) e with random signs e, drawn once for each row and call, and its mean is the trace. With it, log_det is
    an estimate (`Transform.estimated`): a `Flow` of the layer has a `loss` and an `estimate`, and no `log_prob`.

    Source: Chen et al., 2018, arXiv:1806.07366, theorem 1; Grathwohl et al., 2019, "FFJORD", arXiv:1810.01367, section 3
    (the estimate); Hutchinson, 1990. `objectives.FlowMatching` fits v without solving anything.

    Args:
        field: v, a network whose outputs have the shape of its x, and whose context is a vector that begins with the time,
            such as `VelocityMLP`. The numbers behind the time are the context of the transform.
        trace: "exact" or "hutchinson".
        solver: "adaptive", "fixed", or a `Solver`, which has its settings.

    Raises:
        ValueError: a network of other shapes, or torchdiffeq is not installed; in a call, the solver used up its steps, or
            a number did not stay finite.

    Example:
        >>> import torch
        >>> from anabranch.networks import VelocityMLP
        >>> from anabranch.transforms import Continuous, Fixed
        >>> layer = Continuous(VelocityMLP(2, hidden=(16,)), solver=Fixed(steps=8))
        >>> x = torch.randn(10, 2)
        >>> z, log_det = layer(x)
        >>> bool((layer.inverse(z)[0] - x).abs().max() < 1e-3)
        True
    """

    # both ways: the number of steps depends on values, and torchdiffeq checks them as it goes
    inversion = "iterative"
    scoring = "iterative"

    def __init__(self, field: Network, trace: Trace = "exact", solver: str | Solver = "adaptive") -> None:
        instance_of("field", field, Network)
        if field.out_shape != field.in_shape:
            raise ValueError(
                f"field: expected a network whose outputs have the shape of its x, {tuple(field.in_shape)}, "
                f"got {tuple(field.out_shape)}"
            )
        if field.context_shape is None or len(field.context_shape) != 1:
            got = "none" if field.context_shape is None else f"one of shape {tuple(field.context_shape)}"
            raise ValueError(
                "field: expected a network whose context is a vector that begins with the time, such as VelocityMLP, "
                f"got {got}"
            )
        super().__init__(field.in_shape, (field.context - 1,) if field.context > 1 else None)
        self.field = field
        self.trace = one_of("trace", trace, ("exact", "hutchinson"))
        self.solver = as_solver(solver)
        self._estimates = trace == "hutchinson"
        self._error = self.solver.error

    def velocity(self, x: Tensor, time: Tensor, context: Tensor | None = None) -> Tensor:
        """v(x, t, c), of the shape of x.

        Args:
            x: (*batch, *event).
            time: (*batch), or any shape that broadcasts against it.
            context: (*batch, *context), likewise.
        """
        return self.field(x, self._with_time(time, context))

    def _with_time(self, time: Tensor, context: Tensor | None) -> Tensor:
        time = time.unsqueeze(-1)
        if context is None or self.context_shape is None:
            return time
        batch = torch.broadcast_shapes(time.shape[:-1], context.shape[:-1])
        return torch.cat([time.expand(*batch, 1), context.expand(*batch, -1)], dim=-1)

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._moved(x, context, 0.0, 1.0)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._moved(z, context, 1.0, 0.0)

    def _moved(self, x: Tensor, context: Tensor | None, begin: float, end: float) -> tuple[Tensor, Tensor]:
        x = self._at_every_context(x, context)
        batch = x.shape[: x.dim() - self.event_dim]
        given = None
        if context is not None and self.context_shape is not None:
            given = context.expand(*batch, *self.context_shape).reshape(-1, *self.context_shape)
        start = x.reshape(-1, self.field.features)
        if not len(start):
            return x, x.new_zeros(batch)
        broken = ~start.isfinite().all(dim=-1, keepdim=True)
        if given is not None:
            broken = broken | ~given.isfinite().all(dim=-1, keepdim=True)
            given = torch.where(broken, 0.0, given)
        state = torch.cat([torch.where(broken, 0.0, start), start.new_zeros(len(start), 1)], dim=1)
        signs = torch.where(torch.rand_like(start) < 0.5, -1.0, 1.0).to(start) if self._estimates else None

        named: dict[str, Tensor] = dict(self.field.named_parameters())

        def derivative(time: Tensor, state: Tensor) -> Tensor:
            def velocity(rows: Tensor) -> Tensor:
                at = (rows.reshape(-1, *self.field.in_shape), self._with_time(time, given))
                # the adjoint equation is solved in the backward pass, by when lent parameters may be taken back
                moved: Tensor = functional_call(self.field, named, at) if self.solver.adjoint else self.field(*at)
                return moved.flatten(1)

            return torch.cat(_and_trace(velocity, state[:, :-1], signs), dim=1)

        depends = [*named.values(), *([] if given is None else [given])]
        parameters = [value for value in depends if value.requires_grad]
        solved = torch.where(broken, torch.nan, self.solver.solve(derivative, state, begin, end, parameters))
        return solved[:, :-1].reshape(x.shape), solved[:, -1].reshape(batch)


def _and_trace(velocity: Rows, rows: Tensor, signs: Tensor | None) -> tuple[Tensor, Tensor]:
    """The velocities (rows, D), and the traces of their derivatives (rows, 1): exact, or Hutchinson's by signs (rows, D)."""
    if signs is None:
        at, derivative = jacobian(velocity, rows)
        return at, derivative.diagonal(dim1=-2, dim2=-1).sum(dim=-1, keepdim=True)
    at, pull = pulled_back(velocity, rows)
    return at, (pull(signs) * signs).sum(dim=-1, keepdim=True)
