"""Gradients of bounds by the score function, with control variates."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from anabranch.checks import fraction, positive, positive_int
from anabranch.networks import Network
from anabranch.networks.reader import check_reader, outputs_of
from anabranch.objectives.enumerated import as_latent_variable
from anabranch.objectives.objective import Batch, Objective


class ScoreFunction(Objective):
    r"""The negative lower bound of a `LatentVariable`, with the gradient of the posterior by the score function:

    .. math:: \frac1K \sum_k \nabla f(z_k) + (f(z_k) - b_k)\, \nabla \log q(z_k \mid x), \qquad z_k \sim q(z \mid x)

    where f is log p(x | z) beside the formula of the divergence, or the whole bound of the draw where there is none. The
    gradient is unbiased for any b that z_k does not change, which takes variance away:

    - "none": b = 0, as the density's own `loss` has it.
    - "mean": the running mean of f over batches.
    - a network from x (in its shape or as a vector) to one number: the running mean and the network, which is fitted to f by
      least squares beside the fit, by an Adam of its own (NVIL).
    - "others": the mean of f of the other K - 1 draws of the same row (RLOO), K of at least 2.

    It works for every posterior, whether a draw of it is differentiable or not.
    Source: Williams, 1992; Mnih and Gregor, 2014, arXiv:1402.0030 (NVIL); Salimans and Knowles, 2014, and Kool et al., 2019
    (the others).

    Args:
        baseline: "none", "mean", "others" or a network.
        draws: K.
        decay: of the running mean, at each batch.
        learning_rate: of the network.

    Raises:
        ValueError: another name, "others" with a single draw; in a fit, a density that is no `LatentVariable`, a network
            that does not read its events.

    Example:
        >>> from anabranch.objectives import ScoreFunction
        >>> objective = ScoreFunction("others", draws=4)
    """

    uses_labels = False
    by_epochs = False
    reads_rows = False

    def __init__(
        self,
        baseline: str | Network = "others",
        draws: int = 2,
        decay: float = 0.9,
        learning_rate: float = 1e-2,
    ) -> None:
        if not isinstance(baseline, Network) and baseline not in ("none", "mean", "others"):
            raise ValueError(f"baseline: expected 'none', 'mean', 'others' or a Network, got {baseline!r}")
        self.draws = positive_int("draws", draws)
        if baseline == "others" and self.draws < 2:
            raise ValueError("draws: expected at least 2, since a draw's baseline is the mean of the others, got 1")
        self.baseline = baseline
        self.decay = fraction("decay", decay)
        self.learning_rate = positive("learning_rate", learning_rate)
        self._mean: Tensor | None = None
        self._optimiser: torch.optim.Optimizer | None = None

    def prepare(self, rows: Batch, epochs: int) -> None:
        model = as_latent_variable(rows.density)
        self._mean = None
        if isinstance(self.baseline, Network):
            check_reader("baseline", self.baseline, model.event_shape, 1)
            like = next(model.parameters())
            self.baseline.to(like)
            self._optimiser = torch.optim.Adam(self.baseline.parameters(), self.learning_rate)

    def __call__(self, batch: Batch) -> Tensor:
        model = as_latent_variable(batch.density)
        signal, log_q, rest = _signals(batch, self.draws)
        held = signal.detach()
        surrogate = signal + (held - self._baseline(batch, held)) * (log_q - log_q.detach())
        if model.training and torch.is_grad_enabled():
            self._learn(batch, held)
        return -(surrogate.mean(dim=0) + rest)

    def state(self) -> dict[str, Any]:
        network = self.baseline.state_dict() if isinstance(self.baseline, Network) else None
        return {"mean": self._mean, "network": network, "optimiser": self._optimiser and self._optimiser.state_dict()}

    def restore(self, state: dict[str, Any], density: Any) -> None:
        self._mean = state["mean"]
        if isinstance(self.baseline, Network) and self._optimiser is not None:
            self.baseline.load_state_dict(state["network"])
            self._optimiser.load_state_dict(state["optimiser"])

    def _baseline(self, batch: Batch, held: Tensor) -> Tensor:
        """b of every draw, that the draw does not change: (draws, rows) or what broadcasts to it."""
        if self.baseline == "none":
            return held.new_zeros(())
        if self.baseline == "others":
            return (held.sum(dim=0) - held) / (self.draws - 1)
        mean = held.new_zeros(()) if self._mean is None else self._mean
        return mean + self._guess(batch).detach() if isinstance(self.baseline, Network) else mean

    def _learn(self, batch: Batch, held: Tensor) -> None:
        """Take the batch into the running mean and the network, for the next."""
        if self.baseline in ("none", "others"):
            return
        now = held.mean()
        self._mean = now if self._mean is None else self.decay * self._mean + (1 - self.decay) * now
        if self._optimiser is not None:
            self._optimiser.zero_grad()
            (held.mean(dim=0) - self._mean - self._guess(batch)).square().mean().backward()
            self._optimiser.step()

    def _guess(self, batch: Batch) -> Tensor:
        if not isinstance(self.baseline, Network):
            raise ValueError(f"baseline: expected a Network, got {self.baseline!r}")
        return outputs_of(self.baseline, batch.x, len(batch.density.event_shape), None).squeeze(-1)


class MultiSample(Objective):
    r"""The negative bound of K draws of a `LatentVariable`, with a gradient by the score function for discrete z (VIMCO):

    .. math:: L = \log \frac1K \sum_k w_k, \qquad w_k = p(x, z_k) / q(z_k \mid x), \qquad
              \nabla L + \sum_k (L - L_{-k})\, \nabla \log q(z_k \mid x)

    where L_{-k} has the geometric mean of the other weights in place of w_k. It is unbiased for the bound of K draws, which
    is closer to log p(x) than that of one.
    Source: Mnih and Rezende, 2016, arXiv:1602.06725; Burda et al., 2016, arXiv:1509.00519 (the bound).

    Args:
        draws: K, at least 2.

    Raises:
        ValueError: fewer than two draws; in a fit, a density that is no `LatentVariable`.

    Example:
        >>> from anabranch.objectives import MultiSample
        >>> objective = MultiSample(draws=5)
    """

    uses_labels = False
    by_epochs = False
    static = True
    reads_rows = False

    def __init__(self, draws: int = 5) -> None:
        self.draws = positive_int("draws", draws, least=2)

    def prepare(self, rows: Batch, epochs: int) -> None:
        as_latent_variable(rows.density)

    def __call__(self, batch: Batch) -> Tensor:
        likely, prior, log_q = _scored(batch, self.draws)
        log_w = likely + prior - log_q
        bound = log_w.logsumexp(dim=0) - math.log(self.draws)
        held = log_w.detach()
        geometric = (held.sum(dim=0) - held) / (self.draws - 1)
        own = torch.eye(self.draws, dtype=torch.bool, device=held.device).unsqueeze(-1)
        without = torch.where(own, geometric.unsqueeze(1), held.unsqueeze(0)).logsumexp(dim=1) - math.log(self.draws)
        return -(bound + ((bound.detach() - without) * (log_q - log_q.detach())).sum(dim=0))


def _scored(batch: Batch, draws: int) -> tuple[Tensor, Tensor, Tensor]:
    """log p(x | z), log p(z) and log q(z | x) of draws for every row: (draws, rows) each."""
    model = as_latent_variable(batch.density)
    encoded = model._context_of(model.posterior, batch.x, model.event_shape, batch.context)
    with torch.no_grad():
        z = model.posterior._sample(torch.Size([draws]), encoded)
    return model._at(z, batch.x, batch.context)


def _signals(batch: Batch, draws: int) -> tuple[Tensor, Tensor, Tensor]:
    """f and log q of draws, (draws, rows) each, and what of the bound needs no draw: (rows)."""
    likely, prior, log_q = _scored(batch, draws)
    divergence = as_latent_variable(batch.density)._divergence(batch.x, batch.context)
    if divergence is None:
        return likely + prior - log_q, log_q, likely.new_zeros(())
    return likely, log_q, -divergence
