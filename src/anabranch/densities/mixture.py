"""The contract of a mixture."""

from __future__ import annotations

from abc import abstractmethod

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from anabranch.compiled import method
from anabranch.densities.density import Density


class Mixture(Density):
    r"""A density that is a sum over a finite hidden variable k, exactly:

    .. math:: p(x \mid c) = \sum_{k=1}^{K} p(x, k \mid c)

    One primitive, and everything else follows from it:

    .. code-block:: text

        joint_log_prob(x, context=None)    -> (*batch, K), log p(x, k)
        log_prob                           =  logsumexp over k
        responsibilities                   =  softmax over k,  p(k | x)
        log_posterior                      =  log of the responsibilities, or of a network's guess at them
        elbo(x, log_q)                     =  sum_k q_k (log p(x, k) - log q_k)  <=  log_prob,
                                              with equality where q is the responsibilities
        joint_loss                         =  -joint_log_prob, or where parts are trained through bounds, those;
        loss                               =  -logsumexp of -joint_loss over k, or the bound for the network's guess

    To write your own: call `super().__init__(components, event_shape, context_shape)` and define `_joint_log_prob` and
    `_sample`; a mixture of densities whose `loss` is not -log_prob defines `_joint_loss` too;
    one with a network for the posterior sets `variational` and defines `_log_q`.

    Attributes:
        variational: whether `log_posterior` is a network's guess, and `loss` the bound that trains both.

    Args:
        components: K, how many terms the sum has.
        event_shape: the shape of one x.
        context_shape: the shape of one context, or None.
    """

    reparameterized: bool = False
    variational: bool = False

    def __init__(
        self,
        components: int,
        event_shape: torch.Size | tuple[int, ...],
        context_shape: torch.Size | tuple[int, ...] | None = None,
    ) -> None:
        super().__init__(event_shape, context_shape)
        self.components = components

    def joint_log_prob(self, x: Tensor | ArrayLike, context: Tensor | ArrayLike | None = None) -> Tensor:
        """log p(x, k | context) for every k: (*batch, K), nats."""
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
        """
        return torch.softmax(self.joint_log_prob(x, context), dim=-1)

    def log_posterior(self, x: Tensor | ArrayLike, context: Tensor | ArrayLike | None = None) -> Tensor:
        """log q(k | x, context): (*batch, K): of the exact responsibilities, unless a mixture has a network for them."""
        if self.variational:
            return self._log_q(*self._checked(x, context))
        return torch.log_softmax(self.joint_log_prob(x, context), dim=-1)

    def elbo(self, x: Tensor | ArrayLike, log_q: Tensor, context: Tensor | ArrayLike | None = None) -> Tensor:
        r"""The evidence lower bound for q(k): sum_k q_k (log p(x, k) - log q_k), (*batch), nats.

        Args:
            x: (*batch, *event).
            log_q: (*batch, K), normalised log-probabilities; -inf for a k that q excludes.
            context: as elsewhere.
        """
        joint = self.joint_log_prob(x, context)
        if log_q.shape[-1] != self.components:
            raise ValueError(f"log_q: expected shape (..., {self.components}), got {tuple(log_q.shape)}")
        return evidence_lower_bound(joint, log_q)

    @abstractmethod
    def _joint_log_prob(self, x: Tensor, context: Tensor | None) -> Tensor: ...

    def _joint_loss(self, x: Tensor, context: Tensor | None) -> Tensor:
        return -self._joint_log_prob(x, context)

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        return log_sum(self._joint_log_prob(x, context))

    def _loss(self, x: Tensor, context: Tensor | None) -> Tensor:
        joint = -self._joint_loss(x, context)
        if self.variational:
            return -evidence_lower_bound(joint, self._log_q(x, context))
        return -log_sum(joint)

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
    # 0 log 0 = 0: a k with q_k = 0 adds nothing, not the NaN of 0 times infinity. It is taken out before the product
    # too, since the gradient of what `where` leaves out would be that NaN.
    q = log_q.exp()
    excluded = q == 0
    nowhere = (joint.isneginf() & ~excluded).any(dim=-1, keepdim=True)
    left_out = excluded | nowhere
    difference = torch.where(left_out, 0.0, joint) - temperature * torch.where(left_out, 0.0, log_q)
    return torch.where(left_out, 0.0, q * difference).sum(dim=-1).masked_fill(nowhere.squeeze(-1), -torch.inf)
