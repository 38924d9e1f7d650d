"""A dilated causal convolution, at every position at once and one position after the other."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from anabranch.kernels.layout import cast
from anabranch.kernels.modes import may_write


class DilatedConvolution(nn.Module):
    r"""z_d = b + sum_j W_j u_{d - j s}, j = 0, ..., k - 1, where u is zero before the first position.

    Positions are a row of an image whose channels lie side by side in memory, (rows, positions, width), as the layers beside
    it read and write.

    Args:
        width: of u_d.
        outputs: of z_d.
        kernel_size: k.
        dilation: s, in positions.
    """

    def __init__(self, width: int, outputs: int, kernel_size: int, dilation: int) -> None:
        super().__init__()
        self.kernel_size, self.dilation = kernel_size, dilation
        # the taps of an output side by side, the earliest first
        self.product = nn.Linear(kernel_size * width, outputs)

    def forward(self, u: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """(rows, positions, width) to (rows, positions, outputs), multiplied in that dtype, that of u if None."""
        u, weight, bias = cast(dtype, u, self.product.weight, self.product.bias)
        kernel = weight.unflatten(1, (1, self.kernel_size, -1)).movedim(-1, 1)
        image = u.unsqueeze(1).movedim(-1, 1)
        margin = (self.kernel_size - 1) * self.dilation
        z = conv2d(pad(image, (margin, 0, 0, 0)), kernel, bias, dilation=(1, self.dilation))
        return z.movedim(1, -1).flatten(1, 2)

    def start(self, rows: int, shift: Tensor | None) -> DilatedSteps:
        """Before the first position; the shift, (rows, outputs), is added to every z."""
        base = self.product.bias if shift is None else self.product.bias + shift
        return (WrittenTaps if may_write() else RecordedTaps)(self, rows, base)


class DilatedSteps(ABC):
    """The products of one position after the other."""

    def __init__(self, convolution: DilatedConvolution, rows: int, base: Tensor) -> None:
        self.convolution, self.rows, self.base = convolution, rows, base
        self.position = 0

    def step(self, u: Tensor) -> Tensor:
        """(rows, outputs) of the next position, of which u is (rows, width)."""
        z = self._product(u)
        self.position += 1
        return z

    @abstractmethod
    def _product(self, u: Tensor) -> Tensor: ...


class WrittenTaps(DilatedSteps):
    """A ring of as many places as the dilation has positions, each for the last k values that meet there.

    The values of one product lie side by side. A new one takes the room of the earliest, so their order turns from one
    visit to the next, and the taps of the matrix with it: there are k of them.
    """

    def __init__(self, convolution: DilatedConvolution, rows: int, base: Tensor) -> None:
        super().__init__(convolution, rows, base)
        k = convolution.kernel_size
        taps = convolution.product.weight.unflatten(1, (k, -1)).unbind(1)
        ring = [taps[0].new_zeros(rows, k, taps[0].shape[1]) for _ in range(convolution.dilation)]
        self.rooms = [values.unbind(1) for values in ring]
        self.ring = [values.flatten(1) for values in ring]
        # at turn t the newest value is in room t, and the value in room i is (t - i) mod k visits old
        self.weights = [torch.cat([taps[k - 1 - (t - i) % k] for i in range(k)], dim=1).mT for t in range(k)]

    def _product(self, u: Tensor) -> Tensor:
        visit, place = divmod(self.position, self.convolution.dilation)
        turn = visit % self.convolution.kernel_size
        self.rooms[place][turn].copy_(u)
        return torch.addmm(self.base, self.ring[place], self.weights[turn])


class RecordedTaps(DilatedSteps):
    """Values stay as they came, through which gradients flow and which `torch.func` may transform."""

    def __init__(self, convolution: DilatedConvolution, rows: int, base: Tensor) -> None:
        super().__init__(convolution, rows, base)
        self.values: list[Tensor] = []

    def _product(self, u: Tensor) -> Tensor:
        self.values.append(u)
        back = [self.position - j * self.convolution.dilation for j in reversed(range(self.convolution.kernel_size))]
        taps = torch.cat([self.values[e] if e >= 0 else torch.zeros_like(u) for e in back], dim=-1)
        return torch.addmm(self.base, taps, self.convolution.product.weight.mT)
