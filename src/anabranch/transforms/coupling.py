"""The structure in which a part of the event, kept as it is, decides how the rest is transformed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from anabranch.checks import instance_of
from anabranch.networks import Network
from anabranch.transforms.domain import MaskedNumbers, is_everything
from anabranch.transforms.map_parameters import check_outputs, parameters_of
from anabranch.transforms.partition import partition_of
from anabranch.transforms.span import Span
from anabranch.transforms.transform import Transform
from anabranch.transforms.univariate import UnivariateMap


class Coupling(Transform):
    r"""Coupling layer: with the numbers of an event split by a mask into kept ones A and transformed ones B,

    .. math:: z_A = x_A, \qquad z_i = g(x_i; \theta_i(x_A, c)) \text{ for } i \in B, \qquad
              \log |\det| = \sum_{i \in B} \log g'(x_i; \theta_i).

    The inverse costs the same as forward, if that of g does. Source: Dinh et al., 2017, "Density estimation using Real NVP",
    arXiv:1605.08803, section 3.2.

    Args:
        mask: booleans in the shape of the event, channels included, True for those that are transformed. Some must be, and
            some must be kept.
        univariate: the map g.
        network: gives the parameters, univariate.size for each number that is transformed. It reads what is kept: of
            vectors the kept features, of a mask over whole channels the kept channels (channels, *rest), and of any
            other mask (a checkerboard) the whole event with 0 in place of what is transformed; it then gives parameters
            for the whole event. Its outputs are one vector, the parameters of one number side by side, or, as
            convolutions give them, (channels * univariate.size, *rest). It may read a context too.

    Raises:
        ValueError: a mask that is all True or all False, or a network whose shapes do not fit.

    Example:
        >>> import torch
        >>> from anabranch.networks import MLP
        >>> from anabranch.transforms import Coupling, RationalQuadraticSpline
        >>> spline = RationalQuadraticSpline(bins=4)
        >>> layer = Coupling([False, True, True], spline, MLP(1, 2 * spline.size))
        >>> z, log_det = layer(torch.randn(10, 3))
        >>> z.shape, log_det.shape
        (torch.Size([10, 3]), torch.Size([10]))
    """

    _apart = True

    def __init__(self, mask: Sequence[bool] | ArrayLike | Tensor, univariate: UnivariateMap, network: Network) -> None:
        instance_of("univariate", univariate, UnivariateMap)
        instance_of("network", network, Network)
        flags = _read_mask(mask)
        partition = partition_of(flags, network.in_shape)
        if partition is None:
            kept = int((~flags).sum())
            wanted = f"{kept} features" if flags.dim() == 1 else "the kept channels, where the mask has whole ones,"
            raise ValueError(
                f"network: expected one that reads {wanted} or the whole event {tuple(flags.shape)}, the shape of the mask, "
                f"got one that reads shape {tuple(network.in_shape)}"
            )
        check_outputs(network, partition.moved_shape, univariate.size)
        super().__init__(flags.shape, network.context_shape)
        self.inversion = univariate.inversion
        self.univariate = univariate
        self.network = network
        self.partition = partition
        self.register_buffer("moves", flags, persistent=False)

    @property
    def domain(self) -> Constraint:
        """Events whose transformed numbers are ones for which the univariate map is defined."""
        return self._where_moved(self.univariate.domain)

    @property
    def codomain(self) -> Constraint:
        """Events whose transformed numbers are ones that the univariate map reaches."""
        return self._where_moved(self.univariate.codomain)

    def span_ahead(self, span: Span) -> Span:
        """That of what is transformed, and what is kept as it is."""
        return super().span_ahead(span).where(self.get_buffer("moves").cpu(), span)

    def span_behind(self, span: Span) -> Span:
        """That of what is transformed, and what is kept as it is."""
        return super().span_behind(span).where(self.get_buffer("moves").cpu(), span)

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        kept, moved, parameters = self._prepare(x, context)
        z, log_derivative = self.univariate(moved, parameters)
        return self.partition.join(kept, z), self.partition.total(log_derivative)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        kept, moved, parameters = self._prepare(z, context)
        x, log_derivative = self.univariate.inverse(moved, parameters)
        return self.partition.join(kept, x), self.partition.total(log_derivative)

    def _where_moved(self, numbers: Constraint) -> Constraint:
        if is_everything(numbers):
            return constraints.real_vector
        return MaskedNumbers(numbers, self.get_buffer("moves"))

    def _prepare(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        context = None if self.context_shape is None else context
        kept, moved = self.partition.split(self._at_every_context(x, context))
        y = self.network(self.partition.seen(kept), context)
        shape, size = self.partition.moved_shape, self.univariate.size
        return kept, moved, self.partition.parameters_for(parameters_of(y, len(self.network.out_shape), shape, size))


def _read_mask(mask: Sequence[bool] | ArrayLike | Tensor) -> Tensor:
    """The mask as a tensor of booleans.

    Raises:
        ValueError: it is no array of numbers or booleans, or all of it is the same.
    """
    try:
        flags = torch.as_tensor(mask).detach().cpu().bool().clone()
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"mask: expected booleans in the shape of the event, got {mask!r}") from None
    if flags.dim() == 0 or bool(flags.all()) or not bool(flags.any()):
        raise ValueError(f"mask: expected both True and False, got {flags.tolist()}")
    return flags
