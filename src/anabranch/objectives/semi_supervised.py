"""Rows of which a part has a label."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from anabranch.checks import at_least_zero, fraction
from anabranch.objectives.likelihood import Likelihood
from anabranch.objectives.objective import Batch, Objective, as_mixture


class SemiSupervised(Objective):
    r"""The negative bound (or log-density) of rows, with the label where there is one, and the error of the classifier:

    .. math:: -\sum_{n} \log p(x_n) - \sum_{m} \log p(x_m, y_m) - \alpha N \frac{1}{M} \sum_{m} \log q(y_m \mid x_m)

    over N rows, of which m are the M with a label, and n the others. The last term weighs alpha of all the rows however few
    labels there are: each labelled row's error counts alpha N / M. That is `Likelihood(classification=alpha N / M)`, with
    labels checked: every component is a class, and each class has a row that says so.

    With a warm-up the divergence of hidden numbers, in log p(x, y), has a weight that rises from 0 to 1 in the first part of
    a fit, as in `LowerBound`: without one their posterior may collapse before the decoder has learned to use them.
    Source: Kingma et al., 2014, arXiv:1406.5298, equation 9, where alpha is 0.1.

    Args:
        classification: alpha, at least 0.
        warmup: the share of a fit by which it is warm; 0 for no warm-up.

    Raises:
        ValueError: alpha below 0, a share that is none; in a fit, a density that is no mixture, no labels, or a class
            without one.

    Example:
        >>> from anabranch.objectives import SemiSupervised
        >>> objective = SemiSupervised(classification=1.0)
    """

    def __init__(self, classification: float = 0.1, warmup: float = 0.0) -> None:
        self.classification = at_least_zero("classification", classification)
        self.warmup = fraction("warmup", warmup)
        self._each = Likelihood(classification=0)

    @property
    def by_epochs(self) -> bool:
        """Whether it warms up."""
        return self.warmup > 0

    @property
    def static(self) -> bool:
        """Whether it does not."""
        return self.warmup == 0

    def prepare(self, rows: Batch, epochs: int) -> None:
        classes = as_mixture(rows.density).components
        if rows.labels is None:
            raise ValueError(
                "labels: expected one for each row, -1 where there is none, got none; without any, leave the objective out"
            )
        counts = torch.bincount(rows.labels[rows.labels >= 0].cpu(), minlength=classes)
        missing = (counts == 0).nonzero().flatten().tolist()
        if missing:
            raise ValueError(
                f"labels: expected a row of each of the {classes} classes, got none of {', '.join(map(str, missing))}; with "
                "objectives.Likelihood(classification=...) a component without labels is a cluster to be discovered"
            )
        self._each = Likelihood(classification=self.classification * len(rows.x) / int(counts.sum()))

    def __call__(self, batch: Batch) -> Tensor:
        if batch.progress < self.warmup:
            warmth = batch.progress / self.warmup
            batch = copy.copy(batch)  # other terms of a sum share the one that was given
            batch.joint = batch.mixture._joint_weighed(
                batch.x, batch.context, lambda likely, divergence: likely - warmth * divergence.sum(dim=-1)
            )
        return self._each(batch)

    def state(self) -> dict[str, Any]:
        return {}  # what it knows comes from the rows
