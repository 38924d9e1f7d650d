"""The recipe of a variational autoencoder whose hidden variables are a class and numbers."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from anabranch.checks import as_shape, one_of, positive_int
from anabranch.densities import Density, Encoded
from anabranch.models import Embedded, FlowMixture, LatentVariable
from anabranch.networks import Beside
from anabranch.networks.network import Shape
from anabranch.vaes import posteriors, priors
from anabranch.vaes.decoder import decoder
from anabranch.vaes.encoder import Kind, encoder


def m2(
    event_shape: Shape,
    family: Kind,
    classes: int,
    latent: int = 8,
    prior: str = "normal",
    posterior: str = "diagonal",
    hidden: Sequence[int] = (256, 256),
    channels: Sequence[int] | None = None,
    activation: str = "silu",
    drop: float = 0.0,
) -> FlowMixture:
    r"""A class y and numbers z are hidden, with guesses q(y | x) at the one and q(z | x, y) at the others:

    .. math:: p(x) = \sum_y p(y) \int p(z)\, p(x \mid y, z)\, dz, \qquad
              \log p(x) \ge \sum_y q(y \mid x) \big(\log p(y) + L(x, y) - \log q(y \mid x)\big)

    where L(x, y) is the bound of log p(x | y). It is a `FlowMixture` whose components are the classes, one latent-variable
    model that is told the class by a learned vector (`Embedded`): the sum over y is exact, `log_posterior` is log q(y | x)
    and `estimate_posterior` is log p(y | x) by importance weights. Labels of a fit say y for the rows where it is known
    (`objectives.SemiSupervised`); rows without one train q(y | x) by the bound.

    All classes are evaluated for every row: time grows with their number.
    Source: Kingma et al., 2014, arXiv:1406.5298 (its model M2).

    Args:
        event_shape: of x.
        family: what the numbers of x are, as in `vaes.vae`.
        classes: how many values y has.
        latent: how many numbers z has.
        prior: of z, a name of `vaes.priors` ("normal", "flow", ...).
        posterior: of z, a name of `vaes.posteriors` ("diagonal", "full", ...).
        hidden: hidden sizes of the decoder, from z and y to x; of both encoders the other way round.
        channels: of convolutions of images (C, H, W) in place of MLPs, as in `vaes.vae`.
        activation: the networks' nonlinearity.
        drop: the share of channels of each convolution that is left out in training.

    Raises:
        ValueError: fewer than two classes, another name, or shapes that do not fit.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> from anabranch.families import Gaussians
        >>> from anabranch.objectives import SemiSupervised
        >>> _ = torch.manual_seed(0)
        >>> model = ab.vaes.m2(2, Gaussians(1, floor=0.1), classes=2, latent=2, hidden=(16,))
        >>> x = torch.cat([torch.randn(50, 2) - 3, torch.randn(50, 2) + 3])
        >>> y = torch.full((100,), -1)
        >>> y[0], y[99] = 0, 1
        >>> _ = ab.fit(model, x, labels=y, objective=SemiSupervised(), epochs=1, seed=0, progress=False)
        >>> model.log_posterior(x).exp().shape, model.lower_bound(x).shape
        (torch.Size([100, 2]), torch.Size([100]))
    """
    shape, latent = as_shape("event_shape", event_shape), positive_int("latent", latent)
    classes = positive_int("classes", classes, least=2)
    q = posteriors.NAMED[one_of("posterior", posterior, tuple(posteriors.NAMED))]
    p: Density = priors.NAMED[one_of("prior", prior, tuple(priors.NAMED))](latent)
    widths = list(hidden) or [latent]
    inner, of_encoder = widths[:0:-1], None if channels is None else list(channels)[::-1]
    read = Beside(encoder(shape, family, widths[0], inner, of_encoder, activation, drop), classes)
    told = LatentVariable(
        p,
        decoder(shape, family, latent + classes, widths, channels, activation, drop),
        Encoded(q(latent, widths[0] + classes), read),
    )
    components = Embedded(told, classes)
    with torch.no_grad():  # apart from each other from the start
        components.embeddings.copy_(torch.eye(classes))
    guess = encoder(shape, family, classes, widths[::-1], of_encoder, activation, drop)
    return FlowMixture(components, posterior=guess)
