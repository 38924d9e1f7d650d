"""The contract of a density."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.distributions import constraints

from anabranch.checks import as_draws, broadcasting, positive_int, reference_tensor
from anabranch.compiled import method
from anabranch.densities.closed_answers import ClosedAnswers
from anabranch.densities.compilation import compile_density
from anabranch.densities.contexts import at_every_context, context_batch, read_context
from anabranch.densities.derived import derived
from anabranch.densities.distribution_view import DensityDistribution
from anabranch.densities.events import EventDtype, matching_event, read_event
from anabranch.densities.log_weights import log_mean_weight, mean_of_draws
from anabranch.described import Described
from anabranch.draws import drawing
from anabranch.transforms.domain import everywhere

Likelihood = Literal["exact", "bound", "estimate"]


# Draws that `estimate` takes for each event, unless it is told how many, and rows that it scores at a time.
_SAMPLES, _ROWS = 256, 2**14
# of the draws by which symptoms are found: none that a user may have drawn the rows with
_SEED = 1_000_003


class Density(ClosedAnswers["Density"], Described, ABC):
    r"""A probability density (or mass function) p(x | c) that can be scored, sampled and fitted.

    .. code-block:: text

        log_prob(x, context=None)                     -> (*batch), nats, where it is known exactly
        lower_bound(x, context=None, generator=None)  -> (*batch), nats, in the mean over its draws at most log p(x)
        estimate(x, context=None, samples=None, ...)  -> log p(x) and its standard error, (*batch) each
        sample(shape=(), context=None, generator=None)  -> (*shape, *context batch, *event), without gradients
        rsample(...)                                  -> the same, differentiable, where `reparameterized`
        sample_and_log_prob(...)                      -> both, in one go where that is cheaper
        loss(x, context=None)                         -> (*batch), what a fit minimises
        distribution(context=None)                    -> a torch.distributions.Distribution view

        x         (*batch, *event): a tensor of the density's dtype and device, or an array, which is read into them;
                  for a discrete density a tensor of whole numbers or booleans too (`event_dtype`)
        context   (*batch, *context), or any batch shape that broadcasts against that of x

    A base, a prior, a decoder, a posterior, a mixture component: each is a Density, and any Density may stand in any of
    these places.

    A density made of others names them in `parts()`. What follows from them (`likelihood`, `gaps`, `reparameterized`,
    `slow_to_compile`) is computed here, unless the class or the object sets it.

    Attributes:
        event_shape: the shape of one x.
        context_shape: the shape of one context, or None if there is none.
        likelihood: "exact"; "bound", if only a lower bound of log p(x) is known; or "estimate", if only random numbers with
            mean log p(x) are known, as for a flow whose log-determinant is random (`Transform.estimated`). If it is not
            "exact", log_prob raises an error that names `lower_bound` and `estimate`. A composite is "bound" if a part is,
            otherwise "estimate" if a part is. Mixtures refuse parts that are "estimate": the logarithm of a sum of
            estimates would lie above log p(x) in the mean.
        reparameterized: whether samples are differentiable functions of the parameters; of a composite whether those of
            all parts are.
        event_dtype: "floating", or "whole": then an x of whole numbers (uint8, say) comes to `_log_prob` in its dtype, as a
            floating x does; samples have the dtype of the parameters. Of a composite "whole" if all `readers` are.
        gaps: whether a NaN in x means that it was not observed, and log_prob is the marginal of what was; otherwise a NaN
            gives NaN for that row and no other. Of a composite whether it means that in all parts.
        gap_events: whether a NaN in x is the event that a number is missing, with a probability of its own
            (`NotAtRandom`), rather than nothing known of it. Of a composite whether it is that in any part.
        reads_gaps: whether a NaN in the context means that it was not observed (`networks.WithMask`).
        variational: whether a network guesses a hidden variable, so that `lower_bound` has terms, which
            `weighed_bound` weighs.
        effective_draws: how many independent draws a density is worth that is an estimate of another, made of draws
            (`DecodedDraws`); infinity otherwise. Of a composite the least of its parts.
        slow_to_compile: whether `torch.compile` takes about as long as a fit, so that a fit does so only if told to.

    To write your own: call `super().__init__(event_shape, context_shape)`, define `_sample(shape, context)` and one of the
    three below, which get arguments whose shapes and dtypes are checked already, and put it through
    `anabranch.testing.check_density`.

    - `_log_prob(x, context)`, where p(x) is known.
    - `_log_weight(x, context)`, where a bound is, with `likelihood = "bound"`: log w of one draw of a w >= 0 whose mean is
      p(x), such as p(x, z) / q(z | x) for z drawn from q, one draw for each event. The mean of log w is a lower bound, and
      the logarithm of the mean of many w an estimate. `_lower_bound` may be overridden by one of less variance.
    - `_lower_bound(x, context)`, with `likelihood = "estimate"`: for each event a random number with mean log p(x).

    Samples are drawn in the dtype and on the device of the parameters. A context may have more batch dimensions than x:
    `densities.contexts.at_every_context` gives x all of them.

    A density made of others is a `Composite` or a `CompositeMixture`, and says how it combines what its parts say.
    A density with parameters but no context still gets `context=None`. `_loss`, `initialize` and, where what they give
    costs less together, `_sample_and_log_prob` and `_sample_and_divergence` may be overridden. They draw by PyTorch's
    functions and pass no generator on: the one that the public method was given serves them all (`ab.drawing`).

    Example:
        >>> import torch
        >>> from anabranch.densities import Density, Normal
        >>> class Bent(Density):
        ...     "x = tanh(z) + e, z and e normal: a bound is known, by p(x | z) of one z for each event."
        ...     likelihood = "bound"
        ...     def __init__(self):
        ...         super().__init__((1,))
        ...         self.noise = Normal([0.0], learnable=True)
        ...     def _sample(self, shape, context):
        ...         e = self.noise.rsample(shape)
        ...         return torch.randn_like(e).tanh() + e
        ...     def _log_weight(self, x, context):
        ...         return self.noise.log_prob(x - torch.randn_like(x).tanh())
        >>> x = Bent().sample((5,))
        >>> Bent().lower_bound(x).shape, Bent().estimate(x)[0].shape
        (torch.Size([5]), torch.Size([5]))
    """

    likelihood: Likelihood = derived(lambda kinds: _least_known(list(kinds)), "exact")
    reparameterized: bool = derived(all, True)
    gaps: bool = derived(all, False)
    gap_events: bool = derived(any, False)
    event_dtype: EventDtype = derived(
        lambda kinds: "whole" if set(kinds) == {"whole"} else "floating", "floating", of="readers"
    )
    effective_draws: float = derived(min, math.inf)
    slow_to_compile: bool = derived(any, False)
    variational: bool = False
    reads_gaps: bool = False

    def __init__(
        self,
        event_shape: torch.Size | tuple[int, ...],
        context_shape: torch.Size | tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        self.event_shape = torch.Size(event_shape)
        self.context_shape = None if context_shape is None else torch.Size(context_shape)

    @property
    def support(self) -> constraints.Constraint:
        """Where p(x) may be positive, a `torch.distributions` constraint, by default all events; outside it p(x) is 0. A
        class says it as an attribute or as a property.
        """
        return everywhere(len(self.event_shape))

    def parts(self) -> Sequence[Density]:
        """The densities that this one is made of; none by default."""
        return ()

    def readers(self) -> Sequence[Density]:
        """The parts that decide in which dtype x comes (`event_dtype`): those that read its numbers as they are.

        All parts by default. A composite with a transform in front of a part leaves that part out, also where the transform
        only rearranges: a transform takes floating numbers alone. A network is no part, and converts what it reads.
        """
        return self.parts()

    def log_prob(self, x: Tensor | ArrayLike, context: Tensor | ArrayLike | None = None) -> Tensor:
        """log p(x | context) in nats, one number for each event.

        Raises:
            ValueError: a shape, dtype or device other than expected; only a bound is known.
        """
        self._expect_exact("log_prob")
        return method(self, "_log_prob")(*self._checked(x, context))

    def lower_bound(
        self,
        x: Tensor | ArrayLike,
        context: Tensor | ArrayLike | None = None,
        generator: torch.Generator | int | None = None,
    ) -> Tensor:
        """A lower bound of log p(x | context) in nats, one number for each event: log_prob itself where that is known.

        A bound is mostly an integral over a hidden variable, of which this takes one draw for each event: it is the mean
        of such numbers that lies below log p(x).

        Args:
            x: (*batch, *event).
            context: the context or contexts.
            generator: of the draws, as of `sample`.

        Raises:
            ValueError: a shape, dtype or device other than expected.
        """
        x, context = self._checked(x, context)
        with drawing(generator):
            return method(self, "_lower_bound")(x, context)

    def estimate(
        self,
        x: Tensor | ArrayLike,
        context: Tensor | ArrayLike | None = None,
        samples: int | None = None,
        generator: torch.Generator | int | None = None,
    ) -> tuple[Tensor, Tensor]:
        r"""log p(x | context) and its standard error, nats, (*batch) each, without gradients.

        Where only a bound is known, the logarithm of the mean of S importance weights w_s of mean p(x):

        .. math:: \log \tfrac{1}{S} \sum_s w_s, \quad \text{error} = \text{std}(w) / (\text{mean}(w) \sqrt{S}) .

        It lies below log p(x) in the mean, by about half the squared error as long as that is small. The error is at most 1:
        from about 0.3 on a few weights of S outweigh the others, log p(x) may be nats above, and the error does not say by
        how much. More samples, or a better posterior (`queries.refine`), or `queries.annealed` then tell.

        Where draws of mean log p(x) are known (`likelihood` is "estimate"), their mean. log_prob with an error of 0 where
        that is known.
        Source: Burda et al., 2016, arXiv:1509.00519.

        Args:
            x: (*batch, *event).
            context: the context or contexts.
            samples: S, draws for each event; by default 256.
            generator: of the draws, as of `sample`.

        Raises:
            ValueError: a shape, dtype or device other than expected; fewer than two samples.
        """
        x, context = self._checked(x, context)
        if samples is not None:
            samples = positive_int("samples", samples, least=2)
        with torch.no_grad(), drawing(generator):
            return self._estimate(x, context, samples)

    def weighed_bound(self, x: Tensor | ArrayLike, weigh: Weigh, context: Tensor | ArrayLike | None = None) -> Tensor:
        """The lower bound with other weights for its terms, (*batch): what a fit may maximise for a while.

        Args:
            x: (*batch, *event).
            weigh: a function of the expected log-likelihood (*batch) and the divergences of the posterior from the
                prior (*batch, groups), which stands in for the first minus the sum of the others, in every part that
                is `variational`.
            context: the context or contexts.
        """
        return self._weighed(*self._checked(x, context), weigh)

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
            return self._sample(as_draws("shape", shape), self._checked_context(context))

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
            return self._sample(as_draws("shape", shape), self._checked_context(context))

    def sample_and_log_prob(
        self,
        shape: tuple[int, ...] = (),
        context: Tensor | ArrayLike | None = None,
        generator: torch.Generator | int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Draw, and score what was drawn; the arguments are those of `sample`.

        Gradients are recorded if the density is reparameterized.

        Raises:
            ValueError: only a bound of the log-density is known.
        """
        self._expect_exact("sample_and_log_prob")
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.reparameterized), drawing(generator):
            return self._sample_and_log_prob(as_draws("shape", shape), self._checked_context(context))

    def loss(self, x: Tensor | ArrayLike, context: Tensor | ArrayLike | None = None) -> Tensor:
        """What a fit minimises, one number for each event: by default the negative lower bound, of draws of its own.

        In training mode it may be another, random or weighted; in evaluation mode the loss of a density whose likelihood
        is exact is -lower_bound.
        """
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

    def distribution(self, context: Tensor | ArrayLike | None = None) -> DensityDistribution:
        """This density (at these contexts) as a `torch.distributions.Distribution`, whose log_prob is this one's."""
        return DensityDistribution(self, self._checked_context(context))

    def divergence(
        self, other: Density, context: Tensor | None = None, other_context: Tensor | None = None
    ) -> Tensor | None:
        r"""KL(p || q) of this density from another, (*batch, groups), nats; None where there is no formula.

        The divergence is the sum over the groups: one for each number of x where those are independent, else a single one.

        Args:
            other: q, of the same event shape.
            context, other_context: of either.
        """
        return None

    def relaxed_sample(
        self, temperature: float, context: Tensor | None = None, straight_through: bool = False
    ) -> Tensor | None:
        """A draw for each context that is differentiable and only near one of this density, (*context batch, *event), where
        the density is discrete and has a relaxation; None where it has none.

        Args:
            temperature: above 0; the draws come to those of the density as it falls to 0, and gradients grow.
            context: the contexts.
            straight_through: the nearest event in place of the draw, with the gradient of the draw.
        """
        soft = self._relaxed(torch.Size(), context, temperature)
        if soft is None or not straight_through:
            return soft
        return soft + (self._nearest(soft) - soft).detach()

    def symptoms(self, x: Tensor | ArrayLike, context: Tensor | ArrayLike | None = None) -> list[UserWarning]:
        """What may be wrong with the density once it is fitted to rows x, as warnings, which a fit gives when it ends.

        A posterior that has collapsed (`CollapseWarning`), a scale that has come to its floor (`FloorWarning`).

        Args:
            x: (rows, *event), 2 at least.
            context: (rows, *context), or None.
        """
        with torch.no_grad(), drawing(_SEED):
            return self._symptoms(*self._checked(x, context))

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Set what is to be set from a first batch of data. Most densities have nothing to set. May be overridden."""

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        raise NotImplementedError(
            f"{type(self).__name__}: expected _log_prob to be defined, or likelihood to be 'bound' and _log_weight defined"
        )

    def _log_weight(self, x: Tensor, context: Tensor | None) -> Tensor:
        """log w of a random w >= 0 of mean p(x), (*batch): p(x) itself where that is known. Of an estimate there is none."""
        return self._log_prob(x, context)

    def _lower_bound(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self._log_weight(x, context)

    def _weighed(self, x: Tensor, context: Tensor | None, weigh: Weigh) -> Tensor:
        return self._lower_bound(x, context)

    def _estimate(self, x: Tensor, context: Tensor | None, samples: int | None) -> tuple[Tensor, Tensor]:
        if self.likelihood == "exact":
            log_p = self._log_prob(x, context)
            return log_p, torch.zeros_like(log_p)
        x = at_every_context(self, x, context)
        count = _SAMPLES if samples is None else samples
        events = x.shape[: x.dim() - len(self.event_shape)].numel()
        size = max(1, _ROWS // max(1, events))
        sizes = [min(size, count - k) for k in range(0, count, size)]
        bound = self.likelihood == "bound"
        draw, joined = (self._log_weight, log_mean_weight) if bound else (self._lower_bound, mean_of_draws)
        return joined(torch.cat([draw(x.expand(n, *x.shape), context) for n in sizes]))

    @abstractmethod
    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor: ...

    def _sample_and_log_prob(self, shape: torch.Size, context: Tensor | None) -> tuple[Tensor, Tensor]:
        x = self._sample(shape, context)
        return x, self._log_prob(x, context)

    def sample_and_origins(self, shape: tuple[int, ...]) -> tuple[Tensor, Tensor | None]:
        """Draws of a density without a context, (*shape, *event), and for each the number of the draw that it comes from,
        where the density is made of draws (`effective_draws`) and tells it; None otherwise.
        """
        return self.sample(shape), None

    def _sample_and_divergence(
        self, other: Density, context: Tensor | None, other_context: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """A draw for each context, its log-density, and the `divergence` from another: what a bound asks of a posterior."""
        return *self._sample_and_log_prob(torch.Size(), context), self.divergence(other, context, other_context)

    def _loss(self, x: Tensor, context: Tensor | None) -> Tensor:
        return -self._lower_bound(x, context)

    def _relaxed(self, shape: torch.Size, context: Tensor | None, temperature: float) -> Tensor | None:
        return None

    def _nearest(self, x: Tensor) -> Tensor:
        """The event nearest to a relaxed draw."""
        return x

    def _symptoms(self, x: Tensor, context: Tensor | None) -> list[UserWarning]:
        """By default none; a composite passes on what a part says at what that part is shown of x."""
        return []

    def _expect_exact(self, name: str) -> None:
        if self.likelihood != "exact":
            raise ValueError(
                f"{name}: expected a density whose likelihood is exact, got a {type(self).__name__}, of which "
                f"{likelihood_in_words(self)}; use lower_bound, or estimate for log p(x) with its standard error"
            )

    def _checked(
        self, x: Any, context: Any, name: str = "x", shape: torch.Size | None = None
    ) -> tuple[Tensor, Tensor | None]:
        shape = self.event_shape if shape is None else shape
        like = reference_tensor(self)
        x = read_event(name, x, self, like)
        matching_event(name, x, self, like, shape)
        context = self._checked_context(context)
        if context is not None:
            broadcasting(name, x.shape[: x.dim() - len(shape)], "context", context_batch(self, context))
        return x, context

    def _checked_context(self, context: Any) -> Tensor | None:
        return read_context(context, self.context_shape, reference_tensor(self), type(self).__name__)


Weigh = Callable[[Tensor, Tensor], Tensor]


def _least_known(kinds: list[Likelihood]) -> Likelihood:
    """What is known of a composite, from what is known of its parts. (`torch.compile` takes no `min` by a key.)"""
    if "bound" in kinds:
        return "bound"
    return "estimate" if "estimate" in kinds else "exact"


def likelihood_in_words(density: Density) -> str:
    """What is known of a density whose likelihood is not exact, in words of errors."""
    if density.likelihood == "bound":
        return "a bound is known"
    return "an estimate is known (log_det='exact' of Residual, or trace='exact' of Continuous, makes it exact)"
