"""The likelihood of rows, and of their labels where they have any."""

from __future__ import annotations

import torch
from torch import Tensor

from anabranch.checks import positive
from anabranch.densities import Mixture
from anabranch.densities.mixture import evidence_lower_bound, log_sum
from anabranch.objectives.lower_bound import has_terms
from anabranch.objectives.objective import Batch, Objective


class Likelihood(Objective):
    r"""The negative log-likelihood, or the bound that a mixture with a posterior network trains, and for labelled rows

    .. math:: -\log p(x, y) - \alpha \log q(y \mid x) .

    Args:
        classification: alpha, the weight of the posterior's own error on labelled rows. Without a posterior network q is
            p(y | x), and the term makes the fit discriminative.
        temperature: T, the weight of q's term in the bound at the beginning of the fit. It goes to 1 geometrically. Of a
            mixture with a posterior network that is the entropy, sum_k q_k (log p(x, k) - T log q_k): above 1 components
            share rows longer. Elsewhere it is the divergence from the prior, as the beta of `LowerBound`. Only for
            densities with a posterior network.
        until: the share of the fit by which the temperature is 1.
        labels_until: the share of the fit during which labels count, less and less; for labels that are guesses to start
            from. None for labels that hold.

    Example:
        >>> from anabranch.objectives import Likelihood
        >>> objective = Likelihood(temperature=10)
    """

    reads_rows = False

    def __init__(
        self,
        classification: float = 1.0,
        temperature: float = 1.0,
        until: float = 0.7,
        labels_until: float | None = None,
    ) -> None:
        self.classification = 0.0 if classification == 0 else positive("classification", classification)
        self.temperature = positive("temperature", temperature)
        self.until = positive("until", until)
        self.labels_until = None if labels_until is None else positive("labels_until", labels_until)

    @property
    def holds_labels(self) -> bool:
        """Whether they are no guesses."""
        return self.labels_until is None

    @property
    def static(self) -> bool:
        """Whether neither temperature nor labels' weight change on the way."""
        return self.temperature == 1 and self.labels_until is None

    def prepare(self, rows: Batch, epochs: int) -> None:
        if self.temperature != 1 and not has_terms(rows.density):
            raise ValueError(
                f"temperature: expected 1, since the density has no posterior network, got {self.temperature:g}"
            )

    def __call__(self, batch: Batch) -> Tensor:
        if batch.labels is None:
            return self._unlabelled(batch)
        without = self._unlabelled(batch)
        weight = 1.0 if self.labels_until is None else max(0.0, 1 - batch.progress / self.labels_until)
        if weight == 0:
            return without
        labelled = batch.labels >= 0
        chosen = batch.labels.clamp(min=0).unsqueeze(-1)
        with_label = -batch.joint.gather(-1, chosen).squeeze(-1)
        if self.classification:
            with_label = with_label - self.classification * batch.log_q.gather(-1, chosen).squeeze(-1)
        if (
            self.labels_until is not None
        ):  # a guess at a component that has ended since, or is not defined there, is none
            labelled = labelled & with_label.isfinite()
            with_label = torch.where(labelled, with_label, 0.0)
        return torch.where(labelled, without + weight * (with_label - without), without)

    def _unlabelled(self, batch: Batch) -> Tensor:
        density = batch.density
        temperature = self.temperature ** max(0.0, 1 - batch.progress / self.until)
        if isinstance(density, Mixture) and density.variational:
            if self.temperature == 1 and batch.labels is None:  # in one piece, that a compiler takes whole
                return density.loss(batch.x, batch.context)
            return -evidence_lower_bound(batch.joint, batch.log_q, temperature)
        if self.temperature != 1:
            return -density.weighed_bound(
                batch.x, lambda likely, divergence: likely - temperature * divergence.sum(dim=-1), batch.context
            )
        if isinstance(density, Mixture) and density.loss_is_sum:
            return -log_sum(batch.joint)
        return density.loss(batch.x, batch.context)
