"""The contract of a mixture."""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from anabranch.checks import positive_int
from anabranch.compiled import method
from anabranch.densities.contexts import at_every_context
from anabranch.densities.density import Density, Weigh
from anabranch.densities.log_weights import log_mean_weight
from anabranch.draws import drawing

# rows that `estimate_posterior` scores at a time
_ROWS = 2**14


class Mixture(Density):
    r"""A density that is a sum over a finite hidden variable k, exactly:

    .. math:: p(x \mid c) = \sum_{k=1}^{K} p(x, k \mid c)

    One primitive, and everything else follows from it:

    .. code-block:: text

        joint_log_prob(x, context=None)    -> (*batch, K), log p(x, k)
        log_prob                           =  logsumexp over k
        responsibilities                   =  softmax over k,  p(k | x)
        log_posterior                      =  log of the responsibilities, or of a network's guess at them
        estimate_posterior(x)              -> the same by importance weights where only bounds are known, and its error
        elbo(x, log_q)                     =  sum_k q_k (log p(x, k) - log q_k)  <=  log_prob,
                                              with equality where q is the responsibilities
        lower_bound                        =  log_prob, or the elbo of the network's guess
        joint_loss                         =  -joint_log_prob, or where parts are trained through bounds, those;
        loss                               =  -logsumexp of -joint_loss over k, or the bound for the network's guess

    To write your own: call `super().__init__(components, event_shape, context_shape)` and define `_joint_log_prob` and
    `_sample`; a mixture made of densities is a `CompositeMixture`; one with a network for the posterior sets `variational`
    and defines `_log_q`. Where parts are bounds (`likelihood`), exact numbers raise an error, `lower_bound` and `estimate`
    are there, and log_posterior is the best q for the parts' bounds.

    Attributes:
        loss_is_sum: whether `loss` is -logsumexp of -joint_loss in training mode too.
        variational: whether `log_posterior` is a network's guess, and `loss` the bound that trains both. The terms of that
            bound are sum_k q_k log K p(x, k) and the divergence of q from equal shares.

    Args:
        components: K, how many terms the sum has.
        event_shape: the shape of one x.
        context_shape: the shape of one context, or None.
    """

    reparameterized: bool = False
    loss_is_sum: bool = True

    def __init__(
        self,
        components: int,
        event_shape: torch.Size | tuple[int, ...],
        context_shape: torch.Size | tuple[int, ...] | None = None,
    ) -> None:
        super().__init__(event_shape, context_shape)
        self.components = components

    def joint_log_prob(self, x: Tensor | ArrayLike, context: Tensor | ArrayLike | None = None) -> Tensor:
        """log p(x, k | context) for every k: (*batch, K), nats.

        Raises:
            ValueError: only bounds of them are known.
        """
        self._expect_exact("joint_log_prob")
        joint: Tensor = method(self, "_joint_log_prob")(*self._checked(x, context))
        return joint

    def joint_loss(self, x: Tensor | ArrayLike, context: Tensor | ArrayLike | None = None) -> Tensor:
        """What a fit minimises of every k if that is a row's component: (*batch, K), nats; mostly -log p(x, k | context)."""
        joint: Tensor = method(self, "_joint_loss")(*self._checked(x, context))
        return joint

    def responsibilities(self, x: Tensor | ArrayLike, context: Tensor | ArrayLike | None = None) -> Tensor:
        """p(k | x, context) for every k: (*batch, K); each row sums to one.

        Where log_prob is -inf, outside the support or too far out for floating point, no component has any mass to share
        and the row is NaN.

        Raises:
            ValueError: only bounds of the joint are known; `log_posterior` makes the best of those.
        """
        self._expect_exact("responsibilities")
        return torch.softmax(self.joint_log_prob(x, context), dim=-1)

    def log_posterior(self, x: Tensor | ArrayLike, context: Tensor | ArrayLike | None = None) -> Tensor:
        """log q(k | x, context): (*batch, K): of the exact responsibilities, unless a mixture has a network for them, or
        only bounds of its parts are known: then those of the bounds.
        """
        x, context = self._checked(x, context)
        if self.variational:
            return self._log_q(x, context)
        return torch.log_softmax(method(self, self._exact_or("_joint_lower_bound"))(x, context), dim=-1)

    def elbo(
        self,
        x: Tensor | ArrayLike,
        log_q: Tensor | None = None,
        context: Tensor | ArrayLike | None = None,
    ) -> Tensor:
        r"""The evidence lower bound for q(k): sum_k q_k (log p(x, k) - log q_k), (*batch), nats.

        Args:
            x: (*batch, *event).
            log_q: (*batch, K), normalised log-probabilities; -inf for a k that q excludes. By default the mixture's
                `log_posterior`.
            context: as elsewhere.
        """
        x, context = self._checked(x, context)
        joint = method(self, self._exact_or("_joint_lower_bound"))(x, context)
        if log_q is None:
            log_q = self._log_q(x, context) if self.variational else torch.log_softmax(joint, dim=-1)
        if log_q.shape[-1] != self.components:
            raise ValueError(f"log_q: expected shape (..., {self.components}), got {tuple(log_q.shape)}")
        return evidence_lower_bound(joint, log_q)

    def estimate_posterior(
        self,
        x: Tensor | ArrayLike,
        context: Tensor | ArrayLike | None = None,
        samples: int = 256,
        generator: torch.Generator | int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """log p(k | x) by importance weights, and the standard error of each log p(x, k), (*batch, K) each, nats.

        It is consistent: it comes to the truth as the samples grow, where `log_posterior` may be a network's guess. Where
        the joint is known exactly it is that, with errors of 0.

        Args:
            x: (*batch, *event).
            context: as elsewhere.
            samples: draws for each event.
            generator: of the draws, as of `sample`.

        Raises:
            ValueError: fewer than two samples.
        """
        x, context = self._checked(x, context)
        samples = positive_int("samples", samples, least=2)
        with torch.no_grad(), drawing(generator):
            if self.likelihood == "exact":
                joint = self._joint_log_prob(x, context)
                return joint.log_softmax(dim=-1), torch.zeros_like(joint)
            x = at_every_context(self, x, context)
            size = max(1, _ROWS // max(1, x.shape[: x.dim() - len(self.event_shape)].numel()))
            sizes = [min(size, samples - k) for k in range(0, samples, size)]
            drawn = [self._joint_log_weight(x.expand(n, *x.shape), context) for n in sizes]
        joint, error = log_mean_weight(torch.cat(drawn))
        return joint.log_softmax(dim=-1), error

    @abstractmethod
    def _joint_log_prob(self, x: Tensor, context: Tensor | None) -> Tensor: ...

    def _joint_log_weight(self, x: Tensor, context: Tensor | None) -> Tensor:
        """log of weights of mean p(x, k): (*batch, K)."""
        return self._joint_log_prob(x, context)

    def _joint_lower_bound(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Bounds of log p(x, k), (*batch, K), whose log sum exp is one of log p(x)."""
        return self._joint_log_weight(x, context)

    def _joint_weighed(self, x: Tensor, context: Tensor | None, weigh: Weigh) -> Tensor:
        return self._joint_lower_bound(x, context)

    def _joint_loss(self, x: Tensor, context: Tensor | None) -> Tensor:
        return -self._joint_lower_bound(x, context)

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        return log_sum(self._joint_log_prob(x, context))

    def _log_weight(self, x: Tensor, context: Tensor | None) -> Tensor:
        return log_sum(self._joint_log_weight(x, context))

    def _lower_bound(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self._summed(self._joint_lower_bound(x, context), x, context)

    def _loss(self, x: Tensor, context: Tensor | None) -> Tensor:
        return -self._summed(-self._joint_loss(x, context), x, context)

    def _summed(self, joint: Tensor, x: Tensor, context: Tensor | None) -> Tensor:
        return evidence_lower_bound(joint, self._log_q(x, context)) if self.variational else log_sum(joint)

    def _weighed(self, x: Tensor, context: Tensor | None, weigh: Weigh) -> Tensor:
        joint = self._joint_weighed(x, context, weigh)
        if not self.variational:
            return log_sum(joint)
        expected, negative_entropy = evidence_terms(joint, self._log_q(x, context))
        equal = math.log(self.components)
        return weigh(expected + equal, (negative_entropy + equal).unsqueeze(-1))

    def _exact_or(self, bound: str) -> str:
        return "_joint_log_prob" if self.likelihood == "exact" else bound

    def _log_q(self, x: Tensor, context: Tensor | None) -> Tensor:
        """log q(k | x, context), (*batch, K), of a variational mixture."""
        raise NotImplementedError(f"{type(self).__name__}: expected _log_q to be defined, since it is variational")


def log_sum(joint: Tensor) -> Tensor:
    r"""log sum_k exp(joint_k), (*batch), for (*batch, K).

    Where no k is possible it is -inf with a gradient of 0, so that such a row does not make NaN of the gradient of all;
    `torch.logsumexp` divides 0 by 0 there.
    """
    nowhere = joint.isneginf().all(dim=-1, keepdim=True)
    # what is masked before the sum and after it has no gradient
    total = torch.logsumexp(joint.masked_fill(nowhere, 0.0), dim=-1)
    return total.masked_fill(nowhere.squeeze(-1), -torch.inf)


def evidence_lower_bound(joint: Tensor, log_q: Tensor, temperature: float = 1.0) -> Tensor:
    r"""sum_k q_k (log p(x, k) - T log q_k), (*batch), for log p(x, k) and log q_k of (*batch, K).

    It is -inf, with a gradient of 0, where q gives some of its mass to a k that is impossible.
    """
    expected, negative_entropy = evidence_terms(joint, log_q)
    return expected - temperature * negative_entropy


def evidence_terms(joint: Tensor, log_q: Tensor) -> tuple[Tensor, Tensor]:
    """sum_k q_k log p(x, k) and sum_k q_k log q_k, (*batch) each; -inf and 0 where q has mass at a k that is impossible."""
    # 0 log 0 = 0: a k with q_k = 0 adds nothing, not the NaN of 0 times infinity. It is taken out before the product
    # too, since the gradient of what `where` leaves out would be that NaN.
    q = log_q.exp()
    excluded = q == 0
    nowhere = (joint.isneginf() & ~excluded).any(dim=-1, keepdim=True)
    left_out = excluded | nowhere
    q = torch.where(left_out, 0.0, q)
    expected = (q * torch.where(left_out, 0.0, joint)).sum(dim=-1)
    negative_entropy = (q * torch.where(left_out, 0.0, log_q)).sum(dim=-1)
    return expected.masked_fill(nowhere.squeeze(-1), -torch.inf), negative_entropy
