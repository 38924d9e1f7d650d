"""Recipes for images: multi-scale flows of convolutional couplings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from anabranch.checks import as_shape, one_of, positive_int
from anabranch.flows.scales import affine_maps
from anabranch.networks import GatedConvolutional
from anabranch.networks.network import Shape
from anabranch.transforms import (
    ActNorm,
    Chain,
    Coupling,
    Elementwise,
    Inverse,
    Logit,
    LULinear,
    Memory,
    OnPart,
    Pointwise,
    RationalQuadraticSpline,
    Squeeze,
    Transform,
    UnivariateMap,
)

MAPS = ("affine", "spline")


def glow(
    features: Sequence[int],
    context: Shape | None = 0,
    levels: int = 2,
    steps: int = 8,
    hidden: int = 32,
    blocks: int = 2,
    attention: int = 0,
    dropout: float = 0.0,
    univariate: str = "affine",
    bins: int = 8,
    bound: float = 5.0,
    memory: str | Memory = "store",
    max_scale: float = 1000.0,
) -> Chain:
    r"""Glow: at each of several scales steps of activation normalisation, invertible 1 x 1 convolution and coupling.

    .. code-block:: text

        level_1:  squeeze, steps, split            on (C, H, W)
        level_2:  squeeze, steps, split            on half of the channels that level_1 gives
        ...

    A level squeezes squares of four pixels into channels, and all but the last one end with a split: half of the channels
    are factored out, shifted and scaled as a network says of those that go on (Kingma and Dhariwal's learned prior, as a
    coupling). z has the shape (4 C, H / 2, W / 2), whatever the number of levels, so that each level is a block of the
    chain and a depth for `DepthMixture`. Networks are `GatedConvolutional` and start at zero, so that every coupling starts
    at the identity.

    Source: Kingma and Dhariwal, 2018, "Glow", arXiv:1807.03039, section 3. The networks are those of Ho et al., 2019,
    arXiv:1902.00275.

    Args:
        features: the shape of the images, (channels, height, width): multiples of 2^levels.
        context: size of the context, or its shape (channels, height, width), an image whose pixels every level sees
            squeezed as it sees x; 0 for none.
        levels: how many scales there are.
        steps: of each level.
        hidden: channels of each network.
        blocks: of each network.
        attention: heads of each network's attention, 0 for none.
        dropout: of each network; above 0 it takes memory="store".
        univariate: the map of the couplings: "affine", or "spline", rational-quadratic.
        bins, bound: of splines, as in `nsf`.
        memory: what the chain of each level's steps keeps for the gradients, see `Chain`. With "invert" the memory of a fit
            hardly grows with the steps.
        max_scale: as in `maf`, of each level.

    Raises:
        ValueError: shapes that do not fit; the error names the level.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> flow = ab.Flow(ab.flows.glow((1, 8, 8), levels=2, steps=2, hidden=8, blocks=1))
        >>> flow.sample((5,)).shape
        torch.Size([5, 1, 8, 8])
        >>> list(flow.transform.blocks), flow.base.event_shape
        (['level_1', 'level_2'], torch.Size([4, 4, 4]))
    """
    shape = _image_shape(features, positive_int("levels", levels))
    mapped = _maps(univariate, steps, bins, bound, max_scale)
    coupled = _Couplings(context, hidden, blocks, attention, dropout, mapped)

    def body(shape: torch.Size) -> dict[str, Transform]:
        squeezed = Squeeze().forward_shape(shape)
        named: dict[str, Transform] = {"squeeze": Squeeze()}
        named |= {"steps": Chain(_glow_steps(squeezed, steps, coupled), memory=memory)}
        return named

    return _levels(shape, levels, body, coupled)


def realnvp_image(
    features: Sequence[int],
    context: Shape | None = 0,
    levels: int = 2,
    couplings: int = 3,
    hidden: int = 32,
    blocks: int = 2,
    attention: int = 0,
    dropout: float = 0.0,
    univariate: str = "affine",
    bins: int = 8,
    bound: float = 5.0,
    memory: str | Memory = "store",
    max_scale: float = 1000.0,
) -> Chain:
    r"""Real NVP of images: at each of several scales couplings over checkerboards, a squeeze, couplings over channels.

    .. code-block:: text

        level_1:  checkerboards, squeeze, channels, split       on (C, H, W)
        level_2:  checkerboards, squeeze, channels, split       on half of the channels that level_1 gives
        ...

    Masks turn round from each coupling to the next, and activations are normalised before each (`ActNorm`, in place of
    the paper's batch normalisation). Levels, splits, shapes and networks are those of `glow`.

    Source: Dinh et al., 2017, arXiv:1605.08803, section 3.4 to 3.6. There the last level has checkerboards alone, and what
    is factored out is not shifted by what goes on.

    Args:
        features, context, levels, hidden, blocks, attention, dropout, univariate, bins, bound, memory, max_scale: as in
            `glow`.
        couplings: over checkerboards, and as many over channels, of each level.

    Raises:
        ValueError: shapes that do not fit; the error names the level.

    Example:
        >>> import anabranch as ab
        >>> chain = ab.flows.realnvp_image((3, 8, 8), couplings=2, hidden=8, blocks=1)
        >>> chain.forward_shape((3, 8, 8)), len(chain)
        (torch.Size([12, 4, 4]), 2)
    """
    shape = _image_shape(features, positive_int("levels", levels))
    mapped = _maps(univariate, 2 * positive_int("couplings", couplings), bins, bound, max_scale)
    coupled = _Couplings(context, hidden, blocks, attention, dropout, mapped)

    def body(shape: torch.Size) -> dict[str, Transform]:
        squeezed = Squeeze().forward_shape(shape)
        boards: dict[str, Transform] = {}
        rows: dict[str, Transform] = {}
        for i in range(couplings):
            boards |= {f"norm_{i + 1}": Pointwise(ActNorm(shape[0]))}
            boards |= {f"checkerboard_{i + 1}": coupled.over(_checkerboard(shape, i))}
            rows |= {f"norm_{i + 1}": Pointwise(ActNorm(squeezed[0]))}
            rows |= {f"channels_{i + 1}": coupled.over(_channels(squeezed, i))}
        named: dict[str, Transform] = {"pixels": Chain(boards, memory=memory), "squeeze": Squeeze()}
        return named | {"channels": Chain(rows, memory=memory)}

    return _levels(shape, levels, body, coupled)


def dequantisation(
    features: Sequence[int],
    couplings: int = 2,
    hidden: int = 16,
    blocks: int = 1,
    dropout: float = 0.0,
    memory: str | Memory = "store",
    max_scale: float = 1000.0,
) -> Chain:
    r"""Variational dequantisation: from noise u in (0, 1) for every pixel to normal numbers, as the image x says.

    A logit, a shift and a scale of every pixel, and couplings over checkerboards; all networks read x, the context. A `Flow`
    of it is the noise of `densities.Dequantized`. It starts near the uniform density, whatever x is.

    Source: Ho et al., 2019, "Flow++", arXiv:1902.00275, section 3.1.

    Args:
        features: the shape of the images, (channels, height, width), any numbers of pixels.
        couplings: over checkerboards.
        hidden, blocks, dropout, memory, max_scale: as in `glow`.

    Raises:
        ValueError: a shape that is none of images.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> from anabranch.densities import Dequantized, Normal
        >>> noise = ab.Flow(ab.flows.dequantisation((1, 8, 8)))
        >>> levels = Dequantized(Normal(torch.zeros(1, 8, 8)), 17, noise, logit=True)
        >>> levels.lower_bound(torch.zeros(5, 1, 8, 8, dtype=torch.uint8)).shape
        torch.Size([5])
    """
    shape = _image_shape(features, 0)
    mapped = affine_maps(max_scale, positive_int("couplings", couplings, least=0) // 2 + 1)
    coupled = _Couplings(shape, hidden, blocks, 0, dropout, mapped)
    g = mapped()
    told = GatedConvolutional(
        shape, (shape[0] * g.size, *shape[1:]), hidden=hidden, blocks=blocks, dropout=dropout, zero_start=True
    )
    named: dict[str, Transform] = {
        "logit": Elementwise(Logit(), shape),
        "norm": Pointwise(ActNorm(shape[0])),
        "affine": Elementwise(g, shape, told),
    }
    named |= {f"checkerboard_{i + 1}": coupled.over(_checkerboard(shape, i)) for i in range(couplings)}
    return Chain(named, memory=memory)


class _Couplings:
    """Couplings of one kind over any mask: map, and settings of the networks."""

    def __init__(
        self,
        context: Shape | None,
        hidden: int,
        blocks: int,
        attention: int,
        dropout: float,
        univariate: Callable[[], UnivariateMap],
    ) -> None:
        self.context, self.univariate = context, univariate
        self.options: dict[str, Any] = {"hidden": hidden, "blocks": blocks, "attention": attention, "dropout": dropout}

    def over(self, mask: Tensor) -> Coupling:
        """A coupling that moves what the mask says, by a network that starts at zero."""
        g = self.univariate()
        channels, *size = mask.shape
        whole = mask.flatten(1).all(dim=1)
        moved = int(whole.sum()) if bool((whole == mask.flatten(1).any(dim=1)).all()) else channels
        reads = channels if moved == channels else channels - moved
        network = GatedConvolutional(
            (reads, *size), (moved * g.size, *size), self.context, zero_start=True, **self.options
        )
        return Coupling(mask, g, network)


def _glow_steps(shape: torch.Size, steps: int, coupled: _Couplings) -> dict[str, Transform]:
    """Steps of flow on images of that shape."""
    channels = shape[0]
    return {
        f"step_{i + 1}": Chain(
            {
                "norm": Pointwise(ActNorm(channels)),
                "mix": Pointwise(LULinear(channels)),
                "coupling": coupled.over(_channels(shape, i)),
            }
        )
        for i in range(positive_int("steps", steps))
    }


def _levels(
    shape: torch.Size, levels: int, body: Callable[[torch.Size], dict[str, Transform]], coupled: _Couplings
) -> Chain:
    """The levels as blocks, each of which works on half of the channels that the one before it gave."""
    named: dict[str, Transform] = {}
    for level in range(1, levels + 1):
        blocks = body(shape)
        squeezed = Squeeze().forward_shape(shape)
        kept = squeezed[0] // 2
        if level < levels:
            # those that go on are kept, and say how the others are shifted and scaled
            split = torch.arange(squeezed[0]).reshape(-1, 1, 1).expand(squeezed) >= kept
            blocks = {**blocks, "split": coupled.over(split)}
        named[f"level_{level}"] = Chain(blocks) if level == 1 else _inside(blocks, shape, level)
        shape = torch.Size([kept, *squeezed[1:]])
    return Chain(named)


def _inside(blocks: dict[str, Transform], shape: torch.Size, level: int) -> Transform:
    """The blocks of a level, which see images of that shape, on what level 1 gives."""
    inside: Transform = OnPart(Chain({**blocks, "back": Inverse(Squeeze())}), range(shape[0]))
    for outer in range(level - 2, 0, -1):
        # half of the channels of a level outside are a quarter of twice as many of the next one in
        channels = shape[0] // 2 ** (level - 1 - outer)
        inside = OnPart(Chain({"squeeze": Squeeze(), "inside": inside, "back": Inverse(Squeeze())}), range(channels))
    return inside


def _checkerboard(shape: torch.Size, turn: int) -> Tensor:
    """Every second pixel, all its channels; the others at an odd turn."""
    rows, columns = torch.meshgrid(torch.arange(shape[1]), torch.arange(shape[2]), indexing="ij")
    return ((rows + columns + turn) % 2 == 1).expand(shape)


def _channels(shape: torch.Size, turn: int) -> Tensor:
    """Half of the channels; the others at an odd turn, and by another power of two at each second one."""
    digits = max(1, (shape[0] - 1).bit_length())
    digit = (digits - 1 - turn // 2) % digits
    return (((torch.arange(shape[0]) >> digit) + turn) % 2 == 1).reshape(-1, 1, 1).expand(shape)


def _maps(univariate: str, layers: int, bins: int, bound: float, max_scale: float) -> Callable[[], UnivariateMap]:
    if one_of("univariate", univariate, MAPS) == "spline":
        return lambda: RationalQuadraticSpline(bins=bins, bound=bound)
    # a number moves in one layer of each pair, and once more in a split
    return affine_maps(max_scale, (positive_int("steps", layers) + 1) // 2 + 1)


def _image_shape(features: Sequence[int], levels: int) -> torch.Size:
    """The shape of images that so many levels may halve.

    Raises:
        ValueError: no shape of images, or a level meets an odd height or width.
    """
    shape = as_shape("features", features)
    if len(shape) != 3:
        raise ValueError(f"features: expected the shape (channels, height, width), got {tuple(shape)}")
    height, width = shape[1:]
    for level in range(1, positive_int("levels", levels, least=0) + 1):
        if height % 2 or width % 2:
            most = f"at most levels={level - 1}" if level > 1 else "no level takes them"
            raise ValueError(
                f"features: expected height and width that are multiples of {2**levels}, since each of {levels} levels "
                f"halves them, got {shape[1]} x {shape[2]}, of which level_{level} meets {height} x {width}; {most}; pad "
                f"the images to {-shape[1] % 2**levels + shape[1]} x {-shape[2] % 2**levels + shape[2]}"
            )
        height, width = height // 2, width // 2
    return shape
