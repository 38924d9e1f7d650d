"""The recipe of a variational autoencoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from anabranch.checks import as_shape, instance_of, one_of, positive_int
from anabranch.densities import Density, Encoded
from anabranch.models import LatentVariable
from anabranch.networks.network import Shape
from anabranch.vaes import posteriors, priors
from anabranch.vaes.decoder import decoder as of_independent_numbers
from anabranch.vaes.encoder import Kind, encoder


def vae(
    event_shape: Shape,
    family: Kind,
    latent: int = 8,
    prior: str | Density | Callable[[Density], Density] = "normal",
    posterior: str | Density | Callable[[int, int], Density] = "diagonal",
    hidden: Sequence[int] = (256, 256),
    channels: Sequence[int] | None = None,
    activation: str = "silu",
    drop: float = 0.0,
    gaps: bool = False,
    decoder: Density | None = None,
) -> LatentVariable:
    r"""A variational autoencoder: p(x) = \int p(z) p(x | z) dz with a network for p(x | z), and another for q(z | x).

    Source: Kingma and Welling, 2014, arXiv:1312.6114; Mattei and Frellsen, 2019, arXiv:1812.02633 (gaps).

    Args:
        event_shape: of x.
        family: what the numbers of x are: a `Family` (`Bernoulli()`, `Levels(17)`, `Gaussians(1, floor=0.1)`,
            `DiscretizedLogistics(256)`), `Channels` of a pixel, or a list of one `Family` for each column.
        latent: how many numbers z has.
        prior: "normal", "gaussian mixture", "vamp", "flow", "autoregressive", "depth mixture" or "resampled"
            (`vaes.priors`); any density of z; or a function that makes one of the posterior, as `vaes.priors.vamp` does.
        posterior: "diagonal", "full", "planar", "radial", "sylvester", "householder" or "iaf" (`vaes.posteriors`); a
            function (latent, features) that makes a density with the encoder's features for its context; or a density with
            x for its context, encoder and all.
        hidden: hidden sizes of the decoder, from z to x; of the encoder the other way round, whose last layer are features.
        channels: of convolutions of images (C, H, W), from the smallest image to the largest, in place of the decoder's MLP;
            the encoder has them the other way round, before its features. None for MLPs.
        activation: the networks' nonlinearity.
        drop: the share of channels of each convolution that is left out in training: a few thousand images are soon learned
            by heart.
        gaps: whether a NaN in x is a gap, which the encoder is told of and the decoder leaves out. `fit` it by
            `objectives.ImportanceWeighted`, and fill gaps by `queries.impute` (MIWAE).
        decoder: a density of x with z for its context, such as a flow or `vaes.autoregressive_decoder`; by default numbers
            of the family that are independent given z (`vaes.decoder`).

    Raises:
        ValueError: another name, shapes that do not fit, a decoder of other events, or gaps in what convolutions or
            `Channels` read.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> from anabranch.families import Levels
        >>> model = ab.vaes.vae((8, 8), Levels(17), latent=4, prior="vamp", posterior="iaf", hidden=(32, 32))
        >>> x = torch.randint(17, (5, 8, 8), dtype=torch.uint8)
        >>> model.lower_bound(x).shape, model.sample((2,)).shape
        (torch.Size([5]), torch.Size([2, 8, 8]))
    """
    shape, latent = as_shape("event_shape", event_shape), positive_int("latent", latent)
    widths = list(hidden) or [latent]
    of_encoder = None if channels is None else list(channels)[::-1]
    if isinstance(posterior, Density):
        q: Density = posterior
    else:
        if isinstance(posterior, str):
            posterior = posteriors.NAMED[one_of("posterior", posterior, tuple(posteriors.NAMED))]
        read = encoder(shape, family, widths[0], widths[:0:-1], of_encoder, activation, drop, gaps)
        q = Encoded(posterior(latent, widths[0]), read)
    if isinstance(prior, Density):
        p = prior
    elif not isinstance(prior, str):
        p = prior(q)
    elif one_of("prior", prior, (*priors.NAMED, "vamp")) == "vamp":
        p = priors.vamp(q)
    else:
        p = priors.NAMED[prior](latent)
    if decoder is None:
        decoder = of_independent_numbers(shape, family, latent, widths, channels, activation, drop)
    instance_of("decoder", decoder, Density)
    if decoder.event_shape != shape:
        raise ValueError(f"decoder: expected one of events of shape {tuple(shape)}, got {tuple(decoder.event_shape)}")
    given = decoder.context_shape
    if given is None or given.numel() != latent:
        raise ValueError(
            f"decoder: expected one whose context is z, of {latent} numbers, got "
            f"{'one without a context' if given is None else f'a context of shape {tuple(given)}'}"
        )
    model = LatentVariable(p, decoder, q)
    if gaps and not model.gaps:
        raise ValueError(
            "gaps: expected False of a posterior that is not told of them (networks.WithMask), of Channels, whose pixels "
            "are read whole, or of a decoder that does not leave them out, got True"
        )
    return model
