"""Networks of images: the shapes they take, and events and contexts as the rows that convolutions read."""

from __future__ import annotations

from torch import Tensor, broadcast_shapes, cat

from anabranch.networks.network import Network


def check_images(network: Network, to_vector: bool = True) -> None:
    """Raise ValueError unless x is an image, y another of its size, or a vector, and a context a vector or such an image."""
    if len(network.in_shape) != 3:
        raise ValueError(f"features: expected the shape (channels, height, width), got {tuple(network.in_shape)}")
    size, out = network.in_shape[1:], network.out_shape
    if (len(out) != 1 or not to_vector) and (len(out) != 3 or out[1:] != size):
        vector = "the size of a vector or " if to_vector else ""
        raise ValueError(f"outputs: expected {vector}(channels, {size[0]}, {size[1]}), got {tuple(out)}")
    given = network.context_shape
    if given is not None and len(given) > 1 and (len(given) != 3 or _times(network) is None):
        raise ValueError(
            f"context: expected the size of a vector or (channels, {size[0]}, {size[1]}), or an image so many times as high "
            f"and as wide, got {tuple(given)}"
        )


def channels_in(network: Network) -> int:
    """How many channels the first convolution reads: those of x, and those of a context that is an image."""
    given = network.context_shape
    return network.in_shape[0] + (
        given[0] * (_times(network) or 1) ** 2 if given is not None and len(given) == 3 else 0
    )


def vector_context(network: Network) -> int:
    """The size of a context that is a vector, 0 for none."""
    given = network.context_shape
    return given[0] if given is not None and len(given) == 1 else 0


def image_rows(network: Network, x: Tensor, context: Tensor | None) -> tuple[tuple[int, ...], Tensor, Tensor | None]:
    """The batch shape; x (rows, channels, height, width), with a context that is an image below it; a vector context.

    The vector contexts are (rows, c), None where there is none.
    """
    batch = x.shape[: x.dim() - len(network.in_shape)]
    given, shape = None, network.context_shape
    if context is not None and shape is not None:
        batch = broadcast_shapes(batch, context.shape[: context.dim() - len(shape)])
        context = context.expand(*batch, *shape)
        if len(shape) == 3:
            x = cat([x.expand(*batch, *network.in_shape), _squares_as_channels(context, network)], dim=-3)
        else:
            given = context.reshape(batch.numel(), *shape)
    return batch, x.expand(*batch, *x.shape[-3:]).reshape(batch.numel(), *x.shape[-3:]), given


def _squares_as_channels(context: Tensor, network: Network) -> Tensor:
    """Images (*batch, c, f H, f W) as (*batch, c f^2, H, W)."""
    (_, height, width), times = network.in_shape, _times(network) or 1
    parts = context.unflatten(-1, (width, times)).unflatten(-3, (height, times))
    return parts.movedim((-3, -1), (-4, -3)).flatten(-5, -3)


def _times(network: Network) -> int | None:
    """How many times as high and as wide as x a context is; None if it is not so."""
    (_, height, width), (_, high, wide) = network.in_shape, network.context_shape or network.in_shape
    times = high // height
    return times if times > 0 and (height * times, width * times) == (high, wide) else None
