"""Fitting a prior to what a posterior makes of the rows, when encoder and decoder are fitted."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from anabranch.checks import fraction, instance_of, positive_int, reference_tensor, seed_number
from anabranch.densities import Density
from anabranch.draws import drawing
from anabranch.models import LatentVariable
from anabranch.models.vamp_prior import PseudoInputs
from anabranch.training.fit import fit
from anabranch.training.history import History


def fit_prior(
    model: LatentVariable,
    x: Tensor | ArrayLike,
    prior: Density,
    context: Tensor | ArrayLike | None = None,
    *,
    draws: int = 10,
    validation: float = 0.1,
    seed: int = 0,
    **options: Any,
) -> tuple[LatentVariable, History]:
    r"""Fit a prior to the aggregated posterior q(z) = 1/N \sum_n q(z | x_n), and put it in the place of the model's.

    Of all priors q(z) itself is the best for encoder and decoder as they are: the lower bound of a model with the prior p is
    what it would be with that, less KL(q(z) || p(z)), the gap that `queries.latent_report` shows. The prior learns from
    draws of each row's posterior; those of held-out rows say when to stop.
    Source: Hoffman and Johnson, 2016, "ELBO surgery"; Ghosh et al., 2020, arXiv:1903.12436 (ex-post density estimation).

    Args:
        model: fitted; its decoder and posterior stay as they are, and are shared by the result.
        x: (rows, *event).
        prior: a density of z, such as `vaes.priors.flow(8)`; it is fitted in place.
        context: (rows, *context), or None.
        draws: of each row's posterior.
        validation: the fraction of rows to hold out for early stopping; 0 for none.
        seed: of the draws, the split and the fit.
        options: of `fit`, such as epochs.

    Returns:
        the model with that prior, and the history of its fit.

    Raises:
        ValueError: a prior of other events or of another dtype than the model's, or one that takes a context.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> from anabranch.testing import linear_gaussian
        >>> model = linear_gaussian()
        >>> x = 3 + torch.randn(200, 2)
        >>> prior = ab.densities.Normal(torch.zeros(1), learnable=True)
        >>> better, _ = ab.training.fit_prior(model, x, prior, epochs=20, learning_rate=0.1, progress=False)
        >>> bool(better.lower_bound(x).mean() > model.lower_bound(x).mean())
        True
    """
    instance_of("model", model, LatentVariable)
    instance_of("prior", prior, Density)
    if prior.event_shape != model.prior.event_shape or prior.context_shape is not None:
        raise ValueError(
            f"prior: expected a density of events {tuple(model.prior.event_shape)} that takes no context, got one of "
            f"{tuple(prior.event_shape)}{'' if prior.context_shape is None else ' with a context'}"
        )
    like, of_prior = reference_tensor(model), reference_tensor(prior)
    if like is not None and of_prior is not None and of_prior.dtype != like.dtype:
        raise ValueError(
            f"prior: expected dtype {like.dtype}, the model's, got {of_prior.dtype}; use prior.to({like.dtype})"
        )
    count, seed = positive_int("draws", draws), seed_number(seed)
    share = 0.0 if validation == 0 else fraction("validation", validation)
    better = LatentVariable(prior, model.decoder, model.posterior).train(model.training)
    was_training = model.posterior.training
    with torch.no_grad(), drawing(seed):
        encoded = model.posterior_context(x, context)
        for part in prior.modules():
            if isinstance(part, PseudoInputs):
                part.start(encoded)
        order = torch.randperm(len(encoded), device=encoded.device)
        held = round(share * len(encoded))
        z = model.posterior.eval()._sample(torch.Size([count]), encoded[order])
        model.posterior.train(was_training)
        held_out, kept = (some.flatten(0, 1) for some in (z[:, :held], z[:, held:]))
    # a prior of pseudo-inputs holds the posterior, which stays as it is
    frozen = [parameter for parameter in model.posterior.parameters() if parameter.requires_grad]
    try:
        for parameter in frozen:
            parameter.requires_grad_(False)
        history = fit(prior, kept, validation=held_out if held else 0, seed=seed, **options)
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)
    return better, history
