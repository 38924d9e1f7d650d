"""How likely each number of a row is given its others."""

from __future__ import annotations

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from anabranch.checks import read_tensor, reference_tensor
from anabranch.densities import Density
from anabranch.queries.columns import check_density, others
from anabranch.queries.estimate import Estimate
from anabranch.queries.log_prob_at import log_prob_at
from anabranch.queries.marginal import marginal


def leave_one_out(
    density: Density,
    x: Tensor | ArrayLike,
    context: Tensor | ArrayLike | None = None,
    *,
    proposals: int = 512,
    seed: int = 0,
) -> Estimate:
    r"""log p(x_i | all others of the row) for every number of every row:

    .. math:: \log p(x_i \mid x_{-i}) = \log p(x) - \log \int p(x)\, dx_i

    Exact for `AnyOrder`, which also takes gaps (NaN, and NaN comes back), and where marginals have a closed form. Otherwise
    the integrals are estimated by importance sampling: `proposals` evaluations of the density for each number.

    Args:
        density: any density over vectors.
        x: (rows, D).
        context: (rows, context features), for an `AnyOrder` that takes one. Of other densities a conditional comes first.
        proposals, seed: as of `marginal`.

    Returns:
        an `Estimate` of shape (rows, D), nats.

    Raises:
        ValueError: rows that do not fit; a context of another density.

    Warns:
        QueryWarning: integrals of few effective samples.

    Example:
        >>> import torch
        >>> import anabranch as ab
        >>> mixture = ab.densities.GaussianMixture([[0.0, 0.0], [4.0, 4.0]])
        >>> ab.queries.leave_one_out(mixture, torch.tensor([[0.0, 4.0]])).value
        tensor([[-8.2261, -8.2261]])
    """
    features = check_density(density)
    joint = density.any_order(None if context is None else density._checked_context(context))
    if joint is not None:
        model, own = joint
        with torch.no_grad():
            return Estimate.closed(model.leave_one_out(x, own))
    if density.context_shape is not None:
        raise ValueError(
            f"density: expected one without a context, or an AnyOrder, got a {type(density).__name__} that takes one"
        )
    rows = read_tensor("x", x, reference_tensor(density)).detach()
    with torch.no_grad():
        log_p = density.log_prob(rows)
        if features == 1:
            return Estimate.closed(log_p.unsqueeze(-1))
        found = [
            log_prob_at(marginal(density, rest, proposals=proposals, seed=seed), rows[..., rest])
            for rest in (others([i], features) for i in range(features))
        ]
    value = log_p.unsqueeze(-1) - torch.stack([one.value.to(log_p) for one in found], dim=-1)
    return Estimate(
        value,
        torch.stack([one.standard_error.to(log_p) for one in found], dim=-1),
        torch.stack([one.effective_samples.to(log_p) for one in found], dim=-1),
        exact=all(one.exact for one in found),
    )
