"""Posteriors of rows, found by gradient, one for each row."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from anabranch.checks import instance_of, one_of, positive, positive_int, reference_tensor
from anabranch.densities import Normal
from anabranch.draws import drawing
from anabranch.models import LatentVariable
from anabranch.networks import Pick

# draws of which means and deviations are that have no closed form, and by which a start is compared with an end
_DRAWS = 64
_LEAST_VARIANCE = 1e-12


@dataclass(frozen=True)
class Refined:
    """A model whose posterior is told by its context: for each row the means and the log-deviations of z.

    Attributes:
        model: prior and decoder of the model that was refined, with q(z | x, c) = N(z; c) for its posterior. All that a
            latent-variable model can be asked, it can be asked: `refined.model.estimate(x, refined.context)`.
        context: (rows, 2 numbers of z), c of each row.
    """

    model: LatentVariable
    context: Tensor

    @property
    def mean(self) -> Tensor:
        """The means of z, (rows, *event of z)."""
        shape = self.model.prior.event_shape
        return self.context[..., : shape.numel()].unflatten(-1, shape)


def refine(
    model: LatentVariable,
    x: Tensor | ArrayLike,
    *,
    start: str = "posterior",
    steps: int = 100,
    learning_rate: float = 0.05,
    samples: int = 8,
    seed: int | None = None,
) -> Refined:
    r"""Raise each row's lower bound by gradient, over the mean and the deviations of a normal posterior of its own:

    .. math:: \max_{m, s} E_{N(z; m, s^2)}[\log p(x \mid z) + \log p(z) - \log N(z; m, s^2)]

    The posterior of a network is the best for all rows together, given what the network can tell; the difference from the
    best for each row is the amortisation gap. Starting at the posterior this is semi-amortised inference. Starting at the
    prior it does without an encoder, as for a model that was learned without one (`vaes.without_encoder`). A row whose bound
    has not risen keeps its start. The model's weights stay what they are.
    Source: Kim et al., 2018, arXiv:1802.02550; Cremer et al., 2018, arXiv:1801.03558 (the gap).

    Args:
        model: whose prior and decoder take no context; z are real numbers.
        x: (rows, *event).
        start: "posterior", its mean and deviations, or "prior", those of the prior.
        steps: of Adam.
        learning_rate: at first; it falls to 0 along a half cosine.
        samples: draws of z for each row and step.
        seed: of the draws; by default torch's global generator goes on.

    Raises:
        ValueError: a prior or a decoder that takes a context beside z, or whose z are levels.

    Example:
        >>> import torch
        >>> from anabranch.queries import refine
        >>> from anabranch.testing import linear_gaussian
        >>> model = linear_gaussian()
        >>> x = model.sample((20,), generator=0)
        >>> refined = refine(model, x, steps=50)
        >>> bool(refined.model.lower_bound(x, refined.context).mean() > model.lower_bound(x).mean())
        True
    """
    instance_of("model", model, LatentVariable)
    one_of("start", start, ("posterior", "prior"))
    steps, samples = positive_int("steps", steps), positive_int("samples", samples)
    rate = positive("learning_rate", learning_rate)
    local = _local(model)
    if start == "posterior" and model.context_shape is not None:
        raise ValueError("start: expected 'prior' for a model whose posterior takes a context, got 'posterior'")
    x = model._checked(x, None)[0] if model.context_shape is None else local._checked(x, _nothing(local))[0]
    with drawing(seed):
        begun = _start(model, x, start)
        c = begun.clone().requires_grad_()
        optimiser = torch.optim.Adam([c], lr=rate)
        with torch.enable_grad():
            for step in range(steps):
                optimiser.param_groups[0]["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / steps))
                bound = local._lower_bound(x.expand(samples, *x.shape), c)
                (gradient,) = torch.autograd.grad(-bound.sum() / samples, c)
                c.grad = torch.where(gradient.isfinite(), gradient, 0.0)
                optimiser.step()
        with torch.no_grad():
            many = x.expand(_DRAWS, *x.shape)
            gain = local._lower_bound(many, c).mean(dim=0) - local._lower_bound(many, begun).mean(dim=0)
            return Refined(local, torch.where((gain > 0).unsqueeze(-1), c.detach(), begun))


def _local(model: LatentVariable) -> LatentVariable:
    """The model with a posterior that its context tells."""
    shape, features = model.prior.event_shape, model.event_shape.numel()
    if model.prior.context_shape is not None or model.decoder.context_shape not in (shape, torch.Size([shape.numel()])):
        raise ValueError("model: expected one whose prior and decoder take no context beside z, got one that does")
    if model.prior.event_dtype != "floating" or model.prior.support.is_discrete:
        raise ValueError("model: expected one whose z are real numbers, got one whose z are levels")
    count = 2 * shape.numel()
    posterior = Normal(torch.zeros(shape), network=Pick(features + count, range(features, features + count)))
    like = reference_tensor(model)
    posterior = posterior if like is None else posterior.to(like.device, like.dtype)
    return LatentVariable(model.prior, model.decoder, posterior).train(model.training)


def _start(model: LatentVariable, x: Tensor, start: str) -> Tensor:
    """Means and log-deviations, (rows, 2 numbers of z)."""
    with torch.no_grad():
        if start == "prior":
            z = model.prior._sample(torch.Size([_DRAWS * _DRAWS]), None).flatten(1)
            c = torch.cat([z.mean(dim=0), z.std(dim=0).log()])
            return c.expand(len(x), -1).clone()
        encoded = model.posterior_context(x)
        moments = model.posterior._moments(encoded)
        if moments is not None and moments.covariance is not None and len(model.prior.event_shape) == 1:
            mean, variance = moments.mean, torch.diagonal(moments.covariance, dim1=-2, dim2=-1)
        else:
            z = model.posterior._sample(torch.Size([_DRAWS]), encoded)
            mean, variance = z.mean(dim=0).flatten(1), z.var(dim=0).flatten(1)
        scale = variance.clamp(min=_LEAST_VARIANCE).log() / 2
        return torch.cat([mean.expand(len(x), -1), scale.expand(len(x), -1)], dim=-1)


def _nothing(local: LatentVariable) -> Tensor:
    like = reference_tensor(local)
    return torch.zeros(local.context_shape or ()) if like is None else like.new_zeros(local.context_shape or ())
