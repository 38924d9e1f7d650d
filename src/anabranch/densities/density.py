"""The contract of a density."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, Literal

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.distributions import constraints

from anabranch.checks import broadcasting, matching, positive_int, read_tensor, reference_tensor
from anabranch.compiled import method
from anabranch.densities.compilation import compile_density
from anabranch.densities.contexts import context_batch
from anabranch.described import Described
from anabranch.draws import drawing

Bound = Literal["exact", "lower"]


class Density(Described, ABC):
    r"""A probability density (or mass function) p(x | c) that can be scored, sampled and fitted.

    .. code-block:: text

        log_prob(x, context=None)                     -> (*batch), nats
        sample(shape=(), context=None, generator=None)  -> (*shape, *context batch, *event), without gradients
        rsample(...)                                  -> the same, differentiable, where `reparameterized`
        sample_and_log_prob(...)                      -> both, in one go where that is cheaper
        loss(x, context=None)                         -> (*batch), what a fit minimises
        distribution(context=None)                    -> a torch.distributions.Distribution view

        x         (*batch, *event): a tensor of the density's dtype and device, or an array, which is read into them;
                  for a discrete density a tensor of whole numbers or booleans too
        context   (*batch, *context), or any batch shape that broadcasts against that of x

    A base, a prior, a decoder, a posterior, a mixture component: each is a Density, and any Density may stand in any of
    these places.

    Attributes:
        event_shape: the shape of one x.
        context_shape: the shape of one context, or None if there is none.
        support: a `torch.distributions` constraint, by default all vectors; outside it log_prob is -inf.
        bound: "exact", or "lower" if log_prob is a lower bound of the log-likelihood.
        loss_is_exact: whether `loss` is -log_prob; False where it is the negative of a lower bound that a fit makes tight.
            In training mode a loss may also be a random estimate.
        reparameterized: whether samples are differentiable functions of the parameters.
        gaps: whether a NaN in x means that it was not observed, and log_prob is the marginal of what was; otherwise a NaN
            gives NaN for that row and no other.
        slow_to_compile: whether `torch.compile` takes about as long as a fit, so that a fit does so only if told to.

    To write your own: call `super().__init__(event_shape, context_shape)`, define `_log_prob` and `_sample`,
    which get arguments whose shapes and dtypes are checked already, and put it through `anabranch.testing.check_density`.
    A density with parameters but no context still gets `context=None`. `_loss`, `initialize` and, where both together
    cost less, `_sample_and_log_prob` may be overridden. They draw by PyTorch's functions and pass no generator on: the
    one that `sample` was given serves them all (`ab.drawing`).
    """

    bound: Bound = "exact"
    loss_is_exact: bool = True
    reparameterized: bool = True
    gaps: bool = False
    slow_to_compile: bool = False
    support: constraints.Constraint = constraints.real_vector

    def __init__(
        self,
        event_shape: torch.Size | tuple[int, ...],
        context_shape: torch.Size | tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        self.event_shape = torch.Size(event_shape)
        self.context_shape = None if context_shape is None else torch.Size(context_shape)
        if len(self.event_shape) != 1 and type(self).support is Density.support:
            self.support = constraints.independent(constraints.real, len(self.event_shape))

    def log_prob(self, x: Tensor | ArrayLike, context: Tensor | ArrayLike | None = None) -> Tensor:
        """log p(x | context) in nats, one number for each event.

        Raises:
            ValueError: a shape, dtype or device other than expected.
        """
        return method(self, "_log_prob")(*self._checked(x, context))

    def sample(
        self,
        shape: tuple[int, ...] = (),
        context: Tensor | ArrayLike | None = None,
        generator: torch.Generator | int | None = None,
    ) -> Tensor:
        """Draw from p(. | context), without gradients.

        Args:
            shape: how many draws, for each context if there is one; an int is taken as (int,).
            context: the context or contexts.
            generator: where the random numbers come from, a `torch.Generator` or a seed for one; None: PyTorch's global
                generator, or that of the block (`ab.drawing`).
        """
        with torch.no_grad(), drawing(generator):
            return self._sample(_as_shape(shape), self._checked_context(context))

    def rsample(
        self,
        shape: tuple[int, ...] = (),
        context: Tensor | ArrayLike | None = None,
        generator: torch.Generator | int | None = None,
    ) -> Tensor:
        """Draw from p(. | context), differentiably; the arguments are those of `sample`.

        Raises:
            ValueError: the density is not reparameterized.
        """
        if not self.reparameterized:
            raise ValueError(f"rsample: expected a reparameterized density, got {type(self).__name__}; use sample")
        with drawing(generator):
            return self._sample(_as_shape(shape), self._checked_context(context))

    def sample_and_log_prob(
        self,
        shape: tuple[int, ...] = (),
        context: Tensor | ArrayLike | None = None,
        generator: torch.Generator | int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Draw, and score what was drawn; the arguments are those of `sample`.

        Gradients are recorded if the density is reparameterized.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.reparameterized), drawing(generator):
            return self._sample_and_log_prob(_as_shape(shape), self._checked_context(context))

    def loss(self, x: Tensor | ArrayLike, context: Tensor | ArrayLike | None = None) -> Tensor:
        """What a fit minimises, one number for each event: the negative log-likelihood, or a bound of it."""
        return method(self, "_loss")(*self._checked(x, context))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The loss: so a module that wraps the density for training (distributed data parallel) can call it."""
        return self.loss(x, context)

    def compile(self, *arguments: Any, **options: Any) -> None:
        """Compile `log_prob`, `loss` and what sampling spends its time on, with `torch.compile`.

        The same numbers up to rounding, several times faster from the second call on; the first call of each takes some
        tens of seconds, or a few where PyTorch's cache on disk knows the model. A copy or a file of the density is not
        compiled. It needs what `torch.compile` needs: a C++ compiler on CPUs, Triton on GPUs. Where `log_prob` itself takes
        one step per feature (inverse autoregressive flows), only the splines' loops are compiled.

        Args:
            arguments: for `torch.compile`, as in `torch.nn.Module.compile`. The splines' loops, which all models share, are
                compiled without them.
            options: likewise.

        Example:
            >>> import anabranch as ab
            >>> flow = ab.Flow(ab.flows.realnvp(features=2))
            >>> flow.compile()  # nothing is compiled before the first call
        """
        compile_density(self, *arguments, **options)

    def distribution(self, context: Tensor | ArrayLike | None = None) -> Any:
        """This density (at these contexts) as a `torch.distributions.Distribution`."""
        from anabranch.densities.distribution_view import DensityDistribution  # noqa: PLC0415 (it builds on this file)

        return DensityDistribution(self, self._checked_context(context))

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Set what is to be set from a first batch of data. Most densities have nothing to set. May be overridden."""

    @abstractmethod
    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor: ...

    @abstractmethod
    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor: ...

    def _sample_and_log_prob(self, shape: torch.Size, context: Tensor | None) -> tuple[Tensor, Tensor]:
        x = self._sample(shape, context)
        return x, self._log_prob(x, context)

    def _loss(self, x: Tensor, context: Tensor | None) -> Tensor:
        return -self._log_prob(x, context)

    def _checked(self, x: Any, context: Any, name: str = "x") -> tuple[Tensor, Tensor | None]:
        like = reference_tensor(self)
        x = read_event(name, x, self, like)
        matching(name, x, self.event_shape, like)
        context = self._checked_context(context)
        if context is not None:
            broadcasting(name, x.shape[: x.dim() - len(self.event_shape)], "context", context_batch(self, context))
        return x, context

    def _checked_context(self, context: Any) -> Tensor | None:
        if context is None and self.context_shape is None:
            return None
        if context is None:
            raise ValueError(
                f"context: expected shape (..., {', '.join(map(str, self.context_shape or ()))}), got None"
            )
        if self.context_shape is None:
            raise ValueError(f"context: expected None, since this {type(self).__name__} takes none, got one")
        like = reference_tensor(self)
        context = read_tensor("context", context, like)
        matching("context", context, self.context_shape, like)
        return context


def read_event(name: str, x: Any, density: Density, like: Tensor | None) -> Tensor:
    """x as a tensor; whole numbers and booleans for a discrete density in the dtype of `like`, its own."""
    x = read_tensor(name, x, like)
    if like is not None and not x.is_floating_point() and density.support.is_discrete:
        return x.to(like.dtype)
    return x


def _as_shape(shape: Any) -> torch.Size:
    sizes = shape if isinstance(shape, Iterable) and not isinstance(shape, str) else (shape,)
    return torch.Size([positive_int("shape", size, least=0) for size in sizes])
