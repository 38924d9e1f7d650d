"""The conformance suite of the Mixture contract."""

from __future__ import annotations

import torch
from torch import Tensor

from anabranch.densities import Mixture
from anabranch.densities.mixture import evidence_lower_bound
from anabranch.draws import drawing
from anabranch.testing.expectations import checking, expect, expect_close, expecting_value_error
from anabranch.testing.numbers import guesses, some_rows


def check_mixture(mixture: Mixture, context: Tensor | None = None) -> None:
    """Put a mixture through what a mixture promises beside what a density does.

    The joint sums to log_prob, responsibilities sum to one, no ELBO is above log_prob, which it meets at the
    responsibilities, and the loss is made of joint_loss.

    Args:
        mixture: the mixture, in float32.
        context: (rows, c), if it takes one.

    Raises:
        AssertionError: it does not conform; one line says where.

    Example:
        >>> from anabranch.densities import GaussianMixture
        >>> from anabranch.testing import check_mixture
        >>> check_mixture(GaussianMixture([[-1.0], [1.0]], weights=[0.3, 0.7]))
    """
    with drawing(0), checking(mixture, "mixture"):
        _check_mixture(mixture, context)


def _check_mixture(mixture: Mixture, context: Tensor | None) -> None:
    if mixture.likelihood != "exact":
        _check_mixture_of_bounds(mixture, context)
        return
    x = some_rows(mixture, context)
    joint, log_p = mixture.joint_log_prob(x, context), mixture.log_prob(x, context)
    wanted = (*log_p.shape, mixture.components)
    expect(joint.shape == wanted, mixture, f"joint_log_prob: expected shape {wanted}, got {tuple(joint.shape)}")
    expect_close(torch.logsumexp(joint, dim=-1), log_p, mixture, "joint_log_prob summed", 1e-5)
    r = mixture.responsibilities(x, context)
    expect_close(r.sum(dim=-1), torch.ones_like(log_p), mixture, "responsibilities summed", 1e-5)
    expect_close(r, (joint - log_p.unsqueeze(-1)).exp(), mixture, "responsibilities", 1e-4)
    expect_close(
        mixture.elbo(x, joint.log_softmax(dim=-1), context), log_p, mixture, "ELBO at the responsibilities", 1e-4
    )
    for log_q in (torch.zeros_like(joint), torch.randn(joint.shape).to(joint), -joint.detach().clamp(min=-100)):
        above = float((mixture.elbo(x, log_q.log_softmax(dim=-1), context) - log_p).max().detach())
        expect(above <= 1e-4, mixture, f"ELBO: expected it at or below log_prob, got {above:g} above")
    was_training = mixture.training
    mixture.eval()  # where a loss is no random estimate
    losses, log_q = mixture.joint_loss(x, context), mixture.log_posterior(x, context)
    expect(losses.shape == wanted, mixture, f"joint_loss: expected shape {wanted}, got {tuple(losses.shape)}")
    if not any(guesses(part) for part in mixture.parts()):
        expect_close(-losses, joint, mixture, "joint_loss against joint_log_prob", 1e-5)
    made = evidence_lower_bound(-losses, log_q) if mixture.variational else torch.logsumexp(-losses, dim=-1)
    expect_close(-mixture.loss(x, context), made, mixture, "loss, made of joint_loss", 1e-5)
    mixture.train(was_training)
    one = torch.full_like(joint, -torch.inf)
    one[..., 0] = 0.0
    expect_close(mixture.elbo(x, one, context), joint[..., 0], mixture, "ELBO of a q that excludes all but one", 1e-5)


def _check_mixture_of_bounds(mixture: Mixture, context: Tensor | None) -> None:
    x = some_rows(mixture, context)
    for what, call in (("joint_log_prob", mixture.joint_log_prob), ("responsibilities", mixture.responsibilities)):
        with expecting_value_error(mixture, what):
            call(x, context)
    log_q, losses = mixture.log_posterior(x, context), mixture.joint_loss(x, context)
    wanted = (*x.shape[: x.dim() - len(mixture.event_shape)], mixture.components)
    for what, got in (("log_posterior", log_q), ("joint_loss", losses)):
        expect(got.shape == wanted, mixture, f"{what}: expected shape {wanted}, got {tuple(got.shape)}")
    total = log_q.exp().sum(dim=-1)
    expect_close(total, torch.ones_like(total), mixture, "the exponential of log_posterior summed", 1e-5)
