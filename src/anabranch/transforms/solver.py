"""Solvers of differential equations, and how gradients come back through them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from anabranch.checks import one_of, positive, positive_int
from anabranch.described import Described

# errors of single steps that a solution may have, and the error beyond which a log-likelihood is no use
_SUM_OF_ERRORS, _LARGEST_ERROR = 100, 1e-2

Derivative = Callable[[Tensor, Tensor], Tensor]
"""ds/dt of a time (no dimensions) and a state (rows, numbers)."""


class Solver(Described, ABC):
    r"""A solver of ds/dt = f(t, s) for rows s, by torchdiffeq: `Continuous(field, solver=...)`.

    With `adjoint=False` gradients go back through the steps that the solver took. They are exact for these steps, and need
    memory for all of them. With `adjoint=True` gradients solve the adjoint equation, backwards in time, with the memory of
    one step:

    .. math:: a = \frac{dL}{ds}, \qquad \frac{da}{dt} = -a^T \frac{\partial f}{\partial s}, \qquad
              \frac{dL}{d\theta} = \int a^T \frac{\partial f}{\partial \theta} dt

    Such gradients have an error of the size of the solver's, and they have no gradients themselves.

    Source: Chen et al., 2018, "Neural ordinary differential equations", arXiv:1806.07366, section 2.

    To write your own: define `solve`.

    Attributes:
        adjoint: whether f is called in the backward pass too.
        error: how far the end of a solution may lie from the exact one, relative to 1 + its size. `testing.check_transform`
            holds a transform to it. 1e-4 by default, as of a round trip: a solver that does not know its error is to take
            as many steps as that needs.
    """

    adjoint: bool = False
    error: float = 1e-4

    @abstractmethod
    def solve(
        self, derivative: Derivative, state: Tensor, begin: float, end: float, parameters: Sequence[Tensor]
    ) -> Tensor:
        """The state at the end.

        Args:
            derivative: f.
            state: (rows, numbers), at the first time.
            begin: the first time.
            end: the last time, which may lie before the first.
            parameters: the tensors that f depends on and that need gradients.

        Raises:
            ValueError: the budget of steps is used up, or a number is no longer finite.
        """


class Adaptive(Solver):
    r"""A solver with steps as long as the tolerance allows: the estimated error of a step stays below

    .. math:: \epsilon (1 + |s|) \text{ for every number } s \text{ of every row.}

    The errors of the steps add up, and a field that drives rows apart makes them grow: `error` is 100 tolerances, at most
    0.01. Of random fields in one to three dimensions, with weights of 0.2 and 0.5, the worst error was 32 tolerances; with
    weights of 1 some had larger ones.

    All rows take the steps that the hardest row needs. The result of a row depends on the rows beside it, by less
    than `error`. In float32 rounding makes a tolerance below 1e-6 useless.

    Args:
        tolerance: epsilon, of one step; the error of the whole solution is larger.
        max_steps: the largest number of steps, rejected ones included.
        method: "dopri5" (Dormand and Prince, 1980), "dopri8", "bosh3" or "adaptive_heun".
        adjoint: whether gradients are by the adjoint equation.

    Raises:
        ValueError: a tolerance or a number of steps that is not above 0; torchdiffeq is not installed.

    Example:
        >>> from anabranch.transforms import Adaptive
        >>> Adaptive(tolerance=1e-6, max_steps=200).method
        'dopri5'
    """

    METHODS = ("dopri5", "dopri8", "bosh3", "adaptive_heun")

    def __init__(
        self, tolerance: float = 1e-5, max_steps: int = 1000, method: str = "dopri5", adjoint: bool = False
    ) -> None:
        torchdiffeq()
        super().__init__()
        self.tolerance = positive("tolerance", tolerance)
        self.error = min(_SUM_OF_ERRORS * self.tolerance, _LARGEST_ERROR)
        self.max_steps = positive_int("max_steps", max_steps)
        self.method = one_of("method", method, self.METHODS)
        self.adjoint = bool(adjoint)

    def solve(
        self, derivative: Derivative, state: Tensor, begin: float, end: float, parameters: Sequence[Tensor]
    ) -> Tensor:
        # the norm decides what an error of 1 tolerance is: of the largest number, where torchdiffeq takes the mean square
        # of all rows, so that a hard row among many easy ones would be solved badly
        options: dict[str, Any] = {"max_num_steps": self.max_steps, "norm": _largest}
        # a step ends where the time does: between the ends of steps torchdiffeq interpolates, which is less exact
        options["step_t"] = torch.tensor([begin, end], dtype=torch.float64, device=state.device)
        tolerances = {"rtol": self.tolerance, "atol": self.tolerance}
        try:
            return _solved(self, derivative, state, begin, end, parameters, {**tolerances, "options": options})
        except AssertionError as error:
            raise ValueError(f"Continuous: {self._explained(str(error))}") from None

    def _explained(self, said: str) -> str:
        if "max_num_steps" in said:
            return (
                f"max_steps: expected a solution within {self.max_steps} steps of tolerance {self.tolerance:g}, got none; "
                f"give Adaptive(max_steps={10 * self.max_steps}), a larger tolerance, or Fixed(steps=...)"
            )
        return (
            "solver: expected rows and a vector field that stay finite, and steps longer than rounding, from one end of the "
            f"time to the other, got others at tolerance {self.tolerance:g}; give rows closer to 0, a smaller learning "
            "rate, or a larger tolerance"
        )


class Fixed(Solver):
    r"""A solver with a fixed number of equal steps, whatever the error is. Rows do not depend on each other.

    Args:
        steps: number of steps.
        method: "rk4" (four evaluations a step), "midpoint" (two) or "euler" (one).
        adjoint: whether gradients are by the adjoint equation.

    Raises:
        ValueError: a number of steps that is not above 0; torchdiffeq is not installed.

    Example:
        >>> from anabranch.transforms import Fixed
        >>> Fixed(steps=8).method
        'rk4'
    """

    METHODS = ("rk4", "midpoint", "euler")

    def __init__(self, steps: int = 20, method: str = "rk4", adjoint: bool = False) -> None:
        torchdiffeq()
        super().__init__()
        self.steps = positive_int("steps", steps)
        self.method = one_of("method", method, self.METHODS)
        self.adjoint = bool(adjoint)

    def solve(
        self, derivative: Derivative, state: Tensor, begin: float, end: float, parameters: Sequence[Tensor]
    ) -> Tensor:
        def grid(function: Any, start: Tensor, times: Tensor) -> Tensor:
            return torch.linspace(float(times[0]), float(times[-1]), self.steps + 1, dtype=times.dtype).to(times)

        return _solved(self, derivative, state, begin, end, parameters, {"options": {"grid_constructor": grid}})


def as_solver(solver: str | Solver) -> Solver:
    """The solver of this name, or the solver itself.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(solver, Solver):
        return solver
    names: dict[str, type[Adaptive] | type[Fixed]] = {"adaptive": Adaptive, "fixed": Fixed}
    if not isinstance(solver, str):
        raise ValueError(f"solver: expected a Solver or one of {', '.join(map(repr, names))}, got {solver!r}")
    return names[one_of("solver", solver, tuple(names))]()


def torchdiffeq() -> Any:
    """The library `torchdiffeq`.

    Raises:
        ValueError: it is not installed; the message says what to install.
    """
    try:
        import torchdiffeq  # noqa: PLC0415 (an extra)
    except ImportError as error:
        raise ValueError('continuous flows need torchdiffeq: pip install "anabranch[ode]"') from error
    return torchdiffeq


def _solved(
    solver: Adaptive | Fixed,
    derivative: Derivative,
    state: Tensor,
    begin: float,
    end: float,
    parameters: Sequence[Tensor],
    settings: dict[str, Any],
) -> Tensor:
    times = torch.tensor([begin, end], dtype=state.dtype, device=state.device)
    settings = {"method": solver.method, **settings}
    if not solver.adjoint or not torch.is_grad_enabled():
        taken: Tensor = torchdiffeq().odeint(derivative, state, times, **settings)[-1]
        return taken
    if "atol" in settings:
        # gradients of a mean over many rows are small numbers: the tolerance is relative to them
        settings["adjoint_atol"] = settings["atol"] / 1000
    function = _Function(derivative)
    back: Tensor = torchdiffeq().odeint_adjoint(function, state, times, adjoint_params=tuple(parameters), **settings)[
        -1
    ]
    return back


class _Function(nn.Module):
    """A derivative as the module that the adjoint method of torchdiffeq takes."""

    def __init__(self, derivative: Derivative) -> None:
        super().__init__()
        self.derivative = derivative

    def forward(self, time: Tensor, state: Tensor) -> Tensor:
        return self.derivative(time, state)


def _largest(state: Tensor) -> Tensor:
    return state.abs().amax()
