"""Networks, plain and causal: a new one is one line."""

from __future__ import annotations

from typing import Any

from anabranch.families import Gaussians, Levels, Logistics
from anabranch.models import LinearSchedule, OfColumns, ProbabilityFlow
from anabranch.networks import (
    MLP,
    Alone,
    Beside,
    CausalConvolution,
    CausalTransformer,
    Certain,
    Coarse,
    Constant,
    Convolutional,
    Downsampling,
    Enlarged,
    FiniteMemory,
    FourierFeatures,
    GatedConvolutional,
    InOrder,
    LevelPlaces,
    LevelScores,
    LipschitzMLP,
    LogOdds,
    Lookup,
    MaskedMLP,
    OfAngles,
    OfSquares,
    Pick,
    PixelCNN,
    Recurrent,
    Rescaled,
    ResidualMLP,
    Select,
    Skip,
    Timed,
    Upsampling,
    VelocityMLP,
    Within,
    WithMask,
)
from anabranch.testing.registry.case import Case
from anabranch.testing.registry.small_parts import (
    IMAGE,
)

NETWORKS: dict[str, Case] = {
    "MLP": Case(lambda: MLP(3, 4, hidden=(8, 8))),
    "MLP of context": Case(lambda: MLP(3, 4, 2, hidden=(8, 8)), context=2),
    "linear": Case(lambda: MLP(3, 4, hidden=())),
    "linear of context": Case(lambda: MLP(3, 4, 2, hidden=()), context=2),
    "residual MLP": Case(lambda: ResidualMLP(3, 4, hidden=8, blocks=2)),
    "residual MLP of context": Case(lambda: ResidualMLP(3, 4, 2, hidden=8, blocks=2), context=2),
    "constant": Case(lambda: Constant(3, 4)),
    "log-odds": Case(lambda: LogOdds(MLP(3, 4, hidden=(8,)))),
    "of angles, of context": Case(lambda: OfAngles(MLP(6, 4, 2, hidden=(8,)), period=3.0), context=2),
    "selection": Case(lambda: Select(MLP(3, 6, hidden=(8,)), [5, 0, 2, 2])),
    "selection of context": Case(lambda: Select(MLP(3, 6, 2, hidden=(8,)), [5, 0, 2, 2]), context=2),
    "Lipschitz MLP": Case(lambda: LipschitzMLP(3, 4, hidden=(8, 8))),
    "Lipschitz MLP of images, of context": Case(
        lambda: LipschitzMLP(IMAGE, IMAGE, 2, hidden=(8,)), context=2, features=IMAGE
    ),
    "rescaled": Case(lambda: Rescaled(MLP(3, 4, 2, hidden=(8,)), 0.5, 2.0), context=2),
    "beside what it does not read": Case(lambda: Beside(MLP((2, 1), 3, hidden=(8,)), rest=1)),
    "of columns": Case(lambda: OfColumns([Logistics(1, bins=2), Levels(2), Gaussians(1)], MLP(6, 4, hidden=(8,)))),
    "downsampling": Case(lambda: Downsampling((2, 3, 2), 3, hidden=(4, 4)), features=(2, 3, 2)),
    "upsampling": Case(lambda: Upsampling(3, (2, 3, 2), hidden=(4, 4))),
    "each alone": Case(lambda: Alone(3)),
    "with a mask": Case(lambda: WithMask(MLP((3, 1), 4, 3, hidden=(8,))), features=(3, 1)),
    "with a mask, of columns": Case(
        lambda: WithMask(OfColumns([Levels(2), Gaussians(1)], MLP(3, 4, 2, hidden=(8,)))), features=2
    ),
    "lookup": Case(lambda: Lookup(3, 2, 4)),
    "picked": Case(lambda: Pick(3, [2, 0])),
    "velocity MLP": Case(lambda: VelocityMLP(3, hidden=(8, 8)), context=1),
    "velocity MLP of images, of context": Case(lambda: VelocityMLP(IMAGE, 2, hidden=(8,)), context=3, features=IMAGE),
    "residual MLP of a time": Case(lambda: Timed(ResidualMLP(3, 4, 5, hidden=8, blocks=1), waves=2), context=1),
    "gated convolutional of a time and context": Case(
        lambda: Timed(GatedConvolutional(IMAGE, IMAGE, 6, hidden=4), context=2), context=3, features=IMAGE
    ),
    "Fourier features": Case(lambda: FourierFeatures(MLP(15, 4, hidden=(8,)), 3, (0, 2))),
    "Fourier features of images, of context": Case(
        lambda: FourierFeatures(Convolutional((6, 2, 2), (3, 2, 2), 2, hidden=(4,)), IMAGE, [1]),
        context=2,
        features=IMAGE,
    ),
    "coarse": Case(lambda: Coarse((1, 4, 3), levels=5, coarse=3, stride=2), features=(1, 4, 3)),
    "certain": Case(lambda: Certain(Coarse((1, 2, 2), levels=5, coarse=3), count=3), features=(1, 2, 2)),
    "within a coarse image": Case(
        lambda: Within(MLP(2 + 2, 4 * 5, hidden=(8,)), Coarse((1, 2, 2), levels=5, coarse=3, stride=2)), features=2 + 2
    ),
    "places of levels": Case(lambda: LevelPlaces(IMAGE, 4), features=IMAGE),
    "scores of levels": Case(lambda: LevelScores(3, 4, scale=0.7)),
    "probability flow": Case(
        lambda: ProbabilityFlow(VelocityMLP(3, 2, hidden=(8,)), LinearSchedule(-3.0, 2.0, learnable=True), "noise"),
        context=3,
    ),
    "MLP of images": Case(lambda: MLP(IMAGE, IMAGE, (1, 2, 2), hidden=(8,)), context=(1, 2, 2), features=IMAGE),
    "residual MLP of images": Case(lambda: ResidualMLP(IMAGE, 4, hidden=8), features=IMAGE),
    "constant image": Case(lambda: Constant(IMAGE, IMAGE), features=IMAGE),
    "convolutional": Case(lambda: Convolutional(IMAGE, (3, 2, 2), hidden=(4, 4)), features=IMAGE),
    "convolutional to a vector, of context": Case(
        lambda: Convolutional(IMAGE, 3, 2, hidden=(4,)), context=2, features=IMAGE
    ),
    "convolutional of an image as context": Case(
        lambda: Convolutional(IMAGE, (3, 2, 2), (1, 2, 2), hidden=(4,)), context=(1, 2, 2), features=IMAGE
    ),
    "gated convolutional": Case(lambda: GatedConvolutional(IMAGE, (3, 2, 2), hidden=4), features=IMAGE),
    "gated convolutional of context": Case(
        lambda: GatedConvolutional(IMAGE, (3, 2, 2), 2, hidden=4, embed_positions=False), context=2, features=IMAGE
    ),
    "gated convolutional with attention, of a larger image": Case(
        lambda: GatedConvolutional(IMAGE, IMAGE, (1, 4, 4), hidden=4, attention=2),
        context=(1, 4, 4),
        features=IMAGE,
    ),
    "residual cell": Case(lambda: Skip(MLP(3, 2, 2, hidden=(8,))), context=2),
    "convolutional of squares, of context": Case(
        lambda: OfSquares(Convolutional((8, 1, 1), 3, 2, hidden=(4,))), context=2, features=IMAGE
    ),
    "enlarged convolutional": Case(
        lambda: Enlarged(Convolutional(IMAGE, (1, 2, 2), hidden=(4,)), factor=3), features=IMAGE
    ),
}


def _masked_mlp(features: int, context: int, *hidden: int) -> Case:
    return Case(
        lambda: MaskedMLP(features, 3, context, hidden=hidden, activation="tanh"), context=context, features=features
    )


def _pixelcnn(features: tuple[int, ...], context: int | tuple[int, ...] = 0, **more: Any) -> Case:
    event = features if more.get("channels") is None else (*features, more["channels"])
    return Case(
        lambda: PixelCNN(features, 2, context, hidden=12, layers=2, first_kernel_size=5, **more).eval(),
        context=context,
        features=event,
    )


CAUSAL_NETWORKS: dict[str, Case] = {
    "causal transformer": Case(lambda: CausalTransformer(6, 2, hidden=8, layers=2, heads=2), features=6),
    "causal transformer over channels, with dropout, of an image": Case(
        lambda: CausalTransformer(4, 2, (1, 2, 2), 8, layers=2, heads=4, dropout=0.5, channels=3).eval(),
        features=(4, 3),
        context=(1, 2, 2),
    ),
    "causal transformer over an order of channels": Case(
        lambda: CausalTransformer((2, 3, 2), 2, hidden=8, layers=2, heads=1), features=(2, 3, 2)
    ),
    "causal transformer that reads the first layer, of context": Case(
        lambda: CausalTransformer((2, 3), 2, 2, hidden=8, layers=3, heads=2, reads="first"), features=(2, 3), context=2
    ),
    "causal transformer over one feature, of context": Case(
        lambda: CausalTransformer(1, 2, 2, hidden=8, layers=1, heads=2), features=1, context=2
    ),
    "PixelCNN": _pixelcnn((4, 5)),
    "PixelCNN of wide kernels, over channels, of context": _pixelcnn((4, 3), 2, kernel_size=5, channels=2),
    "PixelCNN of an image, with dropout": _pixelcnn((3, 4), (2, 3, 4), dropout=0.5, embed_positions=False),
    "PixelCNN over an order of channels": _pixelcnn((3, 3, 3)),
    "PixelCNN over an order of channels, of an image": _pixelcnn((3, 2, 2), (1, 3, 2), channels=2),
    "PixelCNN over one pixel, of context": _pixelcnn((1, 1), 2),
    "masked MLP over positions with channels": Case(
        lambda: MaskedMLP(4, 3, hidden=(12, 12), activation="tanh", channels=2), features=(4, 2)
    ),
    "masked MLP over the pixels of an image, of an image": Case(
        lambda: MaskedMLP((2, 2), 3, (1, 2, 2), hidden=(12,), activation="tanh", channels=3),
        features=(2, 2, 3),
        context=(1, 2, 2),
    ),
    "masked MLP over one feature": _masked_mlp(1, 0, 8),
    "masked MLP over one feature, of context": _masked_mlp(1, 2, 8),
    "masked MLP of uneven layers": _masked_mlp(2, 0, 7, 9),
    "masked MLP of uneven layers, of context": _masked_mlp(2, 2, 7, 9),
    "masked MLP": _masked_mlp(5, 0, 16, 16),
    "masked MLP of context": _masked_mlp(5, 2, 16, 16),
    "masked MLP of layers narrower than x": _masked_mlp(6, 0, 4, 4),
    "masked MLP of layers narrower than x, of context": _masked_mlp(6, 2, 4, 4),
    "masked MLP in another order": Case(
        lambda: InOrder(MaskedMLP(5, 3, hidden=(16, 16), activation="tanh"), [3, 1, 4, 0, 2]), features=5
    ),
    "masked MLP in another order of the pixels of an image, of context": Case(
        lambda: InOrder(MaskedMLP((2, 2), 3, 2, hidden=(12,), activation="tanh", channels=3), [2, 0, 3, 1]),
        features=(2, 2, 3),
        context=2,
    ),
    "finite memory": Case(lambda: FiniteMemory(6, 2, memory=3, hidden=8, activation="tanh"), features=6),
    "finite memory of a window": Case(
        lambda: FiniteMemory((3, 4), 2, memory=(1, 2), hidden=8, activation="tanh"), features=(3, 4)
    ),
    "finite memory of a window over channels, of an image": Case(
        lambda: FiniteMemory((3, 3), 2, (1, 2, 2), (2, 1), 8, activation="tanh", embed_positions=True, channels=2),
        features=(3, 3, 2),
        context=(1, 2, 2),
    ),
    "finite memory over channels, of context": Case(
        lambda: FiniteMemory(5, 2, 2, memory=2, hidden=8, activation="tanh", channels=3), features=(5, 3), context=2
    ),
    "finite memory over one feature, of context": Case(
        lambda: FiniteMemory(1, 3, 2, hidden=8, activation="tanh"), features=1, context=2
    ),
    "recurrent": Case(lambda: Recurrent(5, 2, hidden=6), features=5),
    "recurrent over channels, of context": Case(
        lambda: Recurrent(4, 2, 2, hidden=6, embed_positions=True, channels=3), features=(4, 3), context=2
    ),
    "recurrent over the pixels of an image, of an image": Case(
        lambda: Recurrent((2, 3), 2, (1, 2, 2), hidden=6, layers=1), features=(2, 3), context=(1, 2, 2)
    ),
    "recurrent over one feature, of context": Case(lambda: Recurrent(1, 2, 2, hidden=6), features=1, context=2),
    "causal convolution": Case(lambda: CausalConvolution(7, 2, hidden=4, skip=8, layers=4), features=7),
    "causal convolution of three taps over the pixels of an image, of context": Case(
        lambda: CausalConvolution((3, 4), 2, 2, 4, 8, 3, kernel_size=3, dilations=(1, 4), embed_positions=True),
        features=(3, 4),
        context=2,
    ),
    "causal convolution over channels, of an image": Case(
        lambda: CausalConvolution(5, 2, (1, 2, 2), hidden=4, skip=8, layers=2, channels=3),
        features=(5, 3),
        context=(1, 2, 2),
    ),
    "causal convolution over one feature, of context": Case(
        lambda: CausalConvolution(1, 2, 2, hidden=4, skip=8, layers=2), features=1, context=2
    ),
}
