"""The recipe of a decoder that is learned without an encoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from anabranch.checks import as_shape, one_of, positive_int
from anabranch.densities import Density, Normal
from anabranch.models import LatentVariable
from anabranch.networks import Lookup
from anabranch.networks.network import Shape
from anabranch.vaes import priors
from anabranch.vaes.decoder import decoder
from anabranch.vaes.encoder import Kind


def without_encoder(
    rows: int,
    event_shape: Shape,
    family: Kind,
    latent: int = 8,
    prior: str | Density = "normal",
    hidden: Sequence[int] = (256, 256),
    channels: Sequence[int] | None = None,
    activation: str = "silu",
) -> LatentVariable:
    r"""A model whose posterior is a table: for each row that is fitted the mean and the deviations of z, found by gradient.

    Nothing is lost to what an encoder cannot tell, and there is no encoder to collapse; but each row's z moves only in the
    steps that see the row, and new rows have none. The row's number is the context: fit it with `validation=0` and the
    context `torch.arange(rows)[:, None]`, and ask `queries.refine(model, x, start="prior")` about new rows.
    Source: Bojanowski et al., 2018, arXiv:1707.05776 (latent numbers of each row by gradient).

    Args:
        rows: how many are fitted.
        event_shape, family, latent, hidden, channels, activation: as in `vae`.
        prior: a name as in `vae` but "vamp", which needs an encoder; or any density of z.

    Raises:
        ValueError: another name, or shapes that do not fit.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> from anabranch.families import Gaussians
        >>> _ = torch.manual_seed(0)
        >>> x = torch.randn(60, 1) * torch.tensor([1.0, -1.0, 0.5])
        >>> model = ab.vaes.without_encoder(60, 3, Gaussians(1, floor=0.1), latent=1, hidden=(16,))
        >>> numbers = torch.arange(60.0).unsqueeze(1)
        >>> history = ab.fit(model, x, numbers, epochs=300, learning_rate=2e-2, validation=0, seed=0, progress=False)
        >>> refined = ab.queries.refine(model, x[:10] + 0.01, start="prior")
        >>> refined.mean.shape
        torch.Size([10, 1])
    """
    shape, latent = as_shape("event_shape", event_shape), positive_int("latent", latent)
    table = Lookup(shape.numel() + 1, positive_int("rows", rows), 2 * latent)
    posterior = Normal(torch.zeros(latent), network=table)
    p = prior if isinstance(prior, Density) else priors.NAMED[one_of("prior", prior, tuple(priors.NAMED))](latent)
    return LatentVariable(p, decoder(shape, family, latent, list(hidden), channels, activation), posterior)
