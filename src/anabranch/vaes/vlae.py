"""The recipe of an autoencoder whose decoder is autoregressive, and sees only what lies near."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from anabranch.checks import as_shape, positive_int
from anabranch.densities import Density
from anabranch.families import Channels, Family
from anabranch.models import Autoregressive, LatentVariable
from anabranch.networks import CausalConvolution, CausalNetwork, PixelCNN
from anabranch.networks.network import Shape
from anabranch.vaes.autoencoder import vae


def autoregressive_decoder(
    event_shape: Shape, family: Family | Channels, latent: int, reach: int = 2, hidden: int = 32
) -> Autoregressive:
    r"""p(x | z) = prod_d p(x_d | z, the numbers before d that lie near): of vectors by `networks.CausalConvolution`, of
    images by `networks.PixelCNN`.

    Args:
        event_shape: of x: a vector, (C, H, W), or (H, W, C); of images with several channels and a plain `Family` each
            number also sees the earlier ones of its pixel, and the shape is (H, W, C).
        family: of the numbers of x, or `Channels` of a pixel.
        latent: how many numbers z has.
        reach: how many numbers of a vector are seen, the last ones; of an image how many rows above, and columns to
            either side of these, 2 at least.
        hidden: units of the network.

    Raises:
        ValueError: events that are neither vectors nor images, too small a reach.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> from anabranch.families import Levels
        >>> decoder = ab.vaes.autoregressive_decoder((1, 8, 8), Levels(17), latent=4, reach=2, hidden=16)
        >>> decoder.sample(context=torch.zeros(4)).shape
        torch.Size([1, 8, 8])
    """
    shape, latent = as_shape("event_shape", event_shape), positive_int("latent", latent)
    if not isinstance(family, (Family, Channels)):
        raise ValueError("family: expected one Family for all numbers, or Channels, got several, one for each column")
    outputs, channels = family.parameters_of_one, None if family.inputs == 1 else family.inputs
    network: CausalNetwork
    if len(shape) == 1:
        reach = positive_int("reach", reach)
        network = CausalConvolution(
            shape,
            outputs,
            latent,
            hidden=hidden,
            skip=hidden,
            layers=1,
            kernel_size=reach,
            dilations=(1,),
            channels=channels,
            embed_positions=True,
        )
        return Autoregressive(family, network)
    if len(shape) != 3:
        raise ValueError(f"event_shape: expected that of a vector or of images with channels, got {tuple(shape)}")
    positions = tuple(shape)
    if isinstance(family, Channels):
        positions = positions[:-1] if shape[-1] == family.channels else positions[1:]
    elif shape[0] == 1:
        positions = positions[1:]
    network = PixelCNN(
        positions,
        outputs,
        latent,
        hidden=hidden,
        layers=positive_int("reach", reach, least=2) - 1,
        kernel_size=3,
        first_kernel_size=3,
        channels=channels,
    )
    return Autoregressive(family, network, event_shape=tuple(shape))


def vlae(
    event_shape: Shape,
    family: Family | Channels,
    latent: int = 8,
    prior: str | Density | Callable[[Density], Density] = "flow",
    posterior: str | Density | Callable[[int, int], Density] = "diagonal",
    reach: int = 2,
    width: int = 32,
    hidden: Sequence[int] = (256, 256),
    channels: Sequence[int] | None = None,
    activation: str = "silu",
    drop: float = 0.0,
) -> LatentVariable:
    r"""A variational lossy autoencoder: an autoregressive decoder that sees only what lies near, so that z says the rest:

    .. math:: p(x) = \int p(z) \prod_d p(x_d \mid z, x_{\text{near } d}) \, dz

    A decoder that sees all earlier numbers ignores z, since every nat that z says costs a nat of divergence. A decoder of
    limited sight models texture by itself, and can learn what lies further apart, such as a shape, from z alone. So z is a
    lossy code, and the reach says what it leaves out. The prior is a masked autoregressive flow, as in the paper.
    Source: Chen et al., 2017, arXiv:1611.02731.

    Args:
        event_shape: of x, a vector or images with channels (`autoregressive_decoder`).
        family: what the numbers of x are.
        latent, prior, posterior, hidden, activation, drop: as of `vaes.vae`; hidden sizes are the encoder's alone, from its
            last layer to its first.
        reach: how far the decoder sees.
        width: units of the decoder's network.
        channels: of the encoder's convolutions, from the smallest image to the largest; None for an MLP.

    Raises:
        ValueError: as of `vaes.vae` and `autoregressive_decoder`.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> from anabranch.families import Levels
        >>> model = ab.vaes.vlae((1, 8, 8), Levels(17), latent=4, reach=2, width=16, hidden=(32,))
        >>> x = torch.randint(17, (5, 1, 8, 8), dtype=torch.uint8)
        >>> model.lower_bound(x).shape, model.sample((2,)).shape
        (torch.Size([5]), torch.Size([2, 1, 8, 8]))
    """
    near = autoregressive_decoder(event_shape, family, latent, reach, width)
    return vae(event_shape, family, latent, prior, posterior, hidden, channels, activation, drop, decoder=near)
