"""Colours of a pixel that know of each other."""

from __future__ import annotations

import torch
from torch import Tensor

from anabranch.checks import positive_int
from anabranch.families.channels import Channels
from anabranch.families.discretized_logistics import DiscretizedLogistics


class SubPixels(Channels):
    r"""The channels of a pixel, a mixture of discretised logistics whose means lean on the channels before:

    .. math:: P(x) = \sum_k w_k \prod_i P_k(x_i \mid x_{<i}), \qquad
              \mu_{ki} = m_{ki} + \sum_{j < i} \tanh(a_{kij})\, t(x_j),

    with P_k a logistic of mean mu and a scale, discretised as in `DiscretizedLogistics`, and t(x) in [-1, 1]. One component
    explains all channels of a pixel: the weights of a channel are those of the channels before, w_k P_k(x_{<i}) scaled to
    sum to one, which makes the chain rule over channels and the sum above the same thing.
    Source: Salimans et al., 2017, arXiv:1701.05517 (PixelCNN++), section 2.2.

    Args:
        count: levels of a channel.
        channels: how many, 3 for red, green and blue.
        components: of the mixture.

    Example:
        >>> import torch
        >>> from anabranch.families import SubPixels
        >>> family = SubPixels(256, components=2)
        >>> family.log_prob(torch.tensor([0, 128, 255]), torch.zeros(family.parameters_of_one)).shape
        torch.Size([])
    """

    def __init__(self, count: int, channels: int = 3, components: int = 5) -> None:
        self.components = positive_int("components", components)
        self.pairs = positive_int("channels", channels) * (channels - 1) // 2
        super().__init__(
            DiscretizedLogistics(count, components), channels, self.components * (1 + 2 * channels + self.pairs)
        )
        self.one = DiscretizedLogistics(count, 1)

    def given(self, theta: Tensor, earlier: Tensor) -> Tensor:
        k, channels = self.components, self.channels
        log_w, loc, raw, slopes = theta.split([k, k * channels, k * channels, k * self.pairs], -1)
        loc, raw = loc.unflatten(-1, (channels, k)), raw.unflatten(-1, (channels, k))
        slopes = slopes.unflatten(-1, (self.pairs, k)).tanh()
        log_w = log_w.log_softmax(dim=-1)
        i, t = earlier.shape[-1], self.one.features(earlier)

        def mean(j: int) -> Tensor:
            """The means of channel j, (*batch, k), whose slopes come after those of the channels before it."""
            first = j * (j - 1) // 2
            return loc[..., j, :] + (slopes[..., first : first + j, :] * t[..., :j, :]).sum(dim=-2)

        batch = torch.broadcast_shapes(theta.shape[:-1], earlier.shape[:-1])
        log_w = log_w.expand(*batch, k)
        for j in range(i):
            parts = (torch.zeros_like(log_w), mean(j).expand(*batch, k), raw[..., j, :].expand(*batch, k))
            log_w = log_w + self.one.log_prob(earlier[..., j].unsqueeze(-1), torch.stack(parts, dim=-1))
        # where no component can make a channel's level, all weights are -inf; equal ones then keep NaN out of the others
        log_w = torch.where(log_w.isneginf().all(dim=-1, keepdim=True), 0.0, log_w)
        return torch.cat([part.expand(*batch, k) for part in (log_w, mean(i), raw[..., i, :])], dim=-1)

    def start(self, x: Tensor) -> Tensor:
        k = self.components
        each = [self.family.start(x[:, i]).split(k) for i in range(self.channels)]
        # of the mean over the channels, whose components come in the same order: from dark to light
        log_w = torch.stack([part[0] for part in each]).mean(dim=0)
        loc, raw = (torch.cat([part[j] for part in each]) for j in (1, 2))
        return torch.cat([log_w, loc, raw, x.new_zeros(k * self.pairs)])
