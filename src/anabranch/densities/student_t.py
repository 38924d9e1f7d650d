"""Student's t density."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from anabranch import families
from anabranch.densities.closed_form import ClosedForm
from anabranch.densities.gaussian import read_loc, read_positive, read_scale
from anabranch.densities.parameters import Parameters
from anabranch.networks import Network
from anabranch.networks.network import Shape


class StudentT(ClosedForm):
    r"""Independent Student's t densities with nu degrees of freedom: tails that fall like |x|^{-nu - 1}.

    .. math:: p(x_i) \propto \frac{1}{\sigma_i} \left(1 + \frac{(x_i - \mu_i)^2}{\nu_i \sigma_i^2}\right)^{-(\nu_i + 1) / 2}

    Args:
        loc: the location mu, (*event).
        scale: sigma, a number or (*event); 1 by default.
        df: degrees of freedom nu, a number or (*event).
        learnable: whether all three are trained.
        context: size of a context on which they depend, through an MLP that starts at zero; 0 for none.
        network: in place of that MLP, a network from the context to the offsets of location, log-scale and log-df.
        hidden: hidden sizes of the MLP.

    Raises:
        ValueError: shapes that do not fit, scales or degrees of freedom that are not positive.

    Example:
        >>> import torch
        >>> from anabranch.densities import StudentT
        >>> StudentT(torch.zeros(1), df=3.0).log_prob(torch.zeros(1))
        tensor(-1.0009)
    """

    def __init__(
        self,
        loc: Tensor | ArrayLike,
        scale: Tensor | ArrayLike | None = None,
        df: Tensor | ArrayLike = 4.0,
        learnable: bool = False,
        context: Shape = 0,
        network: Network | None = None,
        hidden: Sequence[int] = (64, 64),
    ) -> None:
        mean = read_loc(loc)
        log_scale, _ = read_scale(mean, scale, None)
        initial = {"loc": mean, "log_scale": log_scale, "log_df": read_positive("df", df, mean).log()}
        super().__init__(families.StudentT(), mean.shape, Parameters(initial, learnable, context, network, hidden))

    def numbers(self, context: Tensor | None) -> Tensor:
        """Location, log-scale and log-df: (*context batch, *event, 3)."""
        theta = self.theta(context)
        return torch.stack([theta["loc"], theta["log_scale"], theta["log_df"]], dim=-1)

    def _only(self, columns: list[int], context: Tensor | None) -> StudentT:
        theta = self.theta(context)
        loc, scale, df = theta["loc"], theta["log_scale"].exp(), theta["log_df"].exp()
        return StudentT(loc[columns], scale=scale[columns], df=df[columns])
