"""What a decoder makes of weighted draws of a hidden variable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.distributions.constraints import Constraint

from anabranch.checks import instance_of, read_tensor, reference_tensor
from anabranch.densities import Composite, Density
from anabranch.densities.score import ByLogProb, Score
from anabranch.models.observed import observed_columns
from anabranch.networks.of_context import once

# draws and events that are scored at a time
_PAIRS = 2**16


class DecodedDraws(Composite):
    r"""p(x) = \sum_k w_k p(x | z_k), a mixture of what a decoder says at draws z_k with weights w_k.

    With draws of q(z | x_O), and w_k in proportion to p(z_k) p(x_O | z_k) / q(z_k | x_O), it is an estimate of the
    conditional p(x | x_O) of a latent-variable model, by self-normalised importance sampling. The draws stay the same, so
    `log_prob` is a density that is known; `estimate` has beside it the standard error of log p(x | x_O),

    .. math:: \Big(\sum_k w_k^2 (p(x \mid z_k) / p(x) - 1)^2\Big)^{1/2} ,

    and queries count the error of 1 / \sum_k w_k^2 independent draws (`effective_draws`). Where the decoder takes gaps,
    columns alone are a mixture of the same draws, and given others have weights w_k p(x_O | z_k).

    Args:
        decoder: p(x | z), a density with a context.
        given: (K, *context of the decoder), z_k, or z_k with what else the decoder reads; K is 1 at least.
        log_weights: (K), normalised here.

    Raises:
        ValueError: a decoder without a context; other shapes; draws that are not finite; weights that are all 0, or NaN or
            infinite.

    Example:
        >>> import torch
        >>> from anabranch.densities import Normal
        >>> from anabranch.models import DecodedDraws
        >>> decoder = Normal(torch.zeros(3), context=2, learnable=True)
        >>> density = DecodedDraws(decoder, torch.randn(100, 2), torch.zeros(100))
        >>> density.log_prob(density.sample((5,))).shape, round(density.effective_draws)
        (torch.Size([5]), 100)
    """

    reparameterized = False

    def __init__(self, decoder: Density, given: Tensor | ArrayLike, log_weights: Tensor | ArrayLike) -> None:
        instance_of("decoder", decoder, Density)
        if decoder.context_shape is None:
            raise ValueError(f"decoder: expected a density with a context, got a {type(decoder).__name__} without one")
        like = reference_tensor(decoder)
        read, log_w = (
            read_tensor(name, values, like) for name, values in (("given", given), ("log_weights", log_weights))
        )
        shape = (*log_w.shape, *decoder.context_shape)
        if log_w.dim() != 1 or len(log_w) == 0 or read.shape != shape:
            raise ValueError(
                f"given, log_weights: expected shapes (K, {', '.join(map(str, decoder.context_shape))}) and (K,), K at "
                f"least 1, got {tuple(read.shape)} and {tuple(log_w.shape)}"
            )
        if not bool(read.isfinite().all()):
            raise ValueError("given: expected finite numbers, got NaN or infinity")
        if bool(log_w.isnan().any() | log_w.isposinf().any() | log_w.isneginf().all()):
            raise ValueError(
                "log_weights: expected numbers or -inf, not all of them -inf, got NaN, inf or nothing but -inf"
            )
        log_w = log_w.log_softmax(dim=0)
        super().__init__(decoder.event_shape)
        self.decoder = decoder
        self.gaps = decoder.gaps
        self.register_buffer("given", read.detach().clone() if like is None else read.detach().to(like).clone())
        self.register_buffer("log_weights", log_w.detach().clone() if like is None else log_w.detach().to(like).clone())

    def parts(self) -> Sequence[Density]:
        """The decoder."""
        return (self.decoder,)

    @property
    def support(self) -> Constraint:
        """The decoder's."""
        return self.decoder.support

    @property
    def effective_draws(self) -> float:  # type: ignore[override]
        r"""How many draws of equal weights these are worth, 1 / \sum_k w_k^2."""
        return float(1 / (2 * self.get_buffer("log_weights").double()).exp().sum())

    def weighted_completion(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor] | None:
        """z_k drawn by w_k p(x_O | z_k), and gaps of the decoder at z_k: the weight is the sum over k, p(x_O)."""
        if not self.gaps:
            return None
        batch = x.shape[: x.dim() - len(self.event_shape)]
        if batch.numel() == 0:
            return x, x.new_zeros(batch)
        rows = once(x, len(self.event_shape))
        different = rows.shape[: len(batch)]
        log_w = torch.cat(list(self._of_draws(rows, ByLogProb())))
        total = log_w.logsumexp(dim=-1)
        # where none is possible any is as good
        log_w = torch.where(total.isneginf().unsqueeze(-1), self.get_buffer("log_weights"), log_w)
        drawn = torch.multinomial(log_w.softmax(dim=-1), batch.numel() // different.numel(), replacement=True)
        # each dimension is one of different rows, or one along which they repeat
        repeats = [size // rows for size, rows in zip(batch, different, strict=True)]
        pairs = [i for pair in zip(range(len(batch)), range(len(batch), 2 * len(batch)), strict=True) for i in pair]
        which = drawn.reshape(*different, *repeats).permute(pairs).reshape(batch)
        completion = self.decoder.weighted_completion(x, self.get_buffer("given")[which])
        return None if completion is None else (completion[0], total.reshape(different).expand(batch))

    def _given(
        self, wanted: list[int], observed: list[int], values: Tensor | None, context: Tensor | None
    ) -> Density | None:
        """Where NaN is a gap: of columns alone, and given values, a mixture of the same draws."""
        if not self.gaps or len(self.event_shape) != 1 or (observed and values is None):
            return None
        log_w = self.get_buffer("log_weights")
        if observed and values is not None:
            with torch.no_grad():
                seen = observed_columns(self.decoder, observed)
                log_w = log_w + seen._log_prob(values.expand(len(log_w), -1), self.get_buffer("given"))
            if bool(log_w.isneginf().all()):
                raise ValueError("values: expected possible ones, but the density is 0 there, or below every float")
        return DecodedDraws(observed_columns(self.decoder, wanted), self.get_buffer("given"), log_w)

    def _score(self, x: Tensor, context: Tensor | None, score: Score) -> Tensor:
        batch = x.shape[: x.dim() - len(self.event_shape)]
        log_p = [each.logsumexp(dim=-1) for each in self._of_draws(x, score)]
        return torch.cat(log_p).reshape(batch) if log_p else x.new_zeros(batch)

    def _estimate(self, x: Tensor, context: Tensor | None, samples: int | None) -> tuple[Tensor, Tensor]:
        if self.likelihood != "exact":
            return super()._estimate(x, context, samples)
        log_p, batch = self._log_prob(x, context), x.shape[: x.dim() - len(self.event_shape)]
        weights = self.get_buffer("log_weights").exp()
        errors = [
            (each.softmax(dim=-1) - weights).square().sum(dim=-1).sqrt() for each in self._of_draws(x, ByLogProb())
        ]
        error = torch.cat(errors).reshape(batch) if errors else torch.zeros_like(log_p)
        return log_p, torch.where(log_p.isneginf(), 0.0, error)

    def _of_draws(self, x: Tensor, score: Score) -> Iterator[Tensor]:
        """log w_k p(x | z_k) of some events after the other, (events, K)."""
        draws, log_w = self.get_buffer("given"), self.get_buffer("log_weights")
        for some in x.reshape(-1, 1, *self.event_shape).split(max(1, _PAIRS // len(draws))):
            if len(some):
                yield score(self.decoder, some, draws) + log_w

    def _sample(self, shape: torch.Size, context: Tensor | None) -> Tensor:
        return self._decoded(shape)[0]

    def sample_and_origins(self, shape: tuple[int, ...]) -> tuple[Tensor, Tensor | None]:
        """Draws, and for each the number of the z_k that it was decoded from."""
        with torch.no_grad():
            return self._decoded(torch.Size(shape))

    def _decoded(self, shape: torch.Size) -> tuple[Tensor, Tensor]:
        """Draws, and the numbers of the z_k that they were decoded from."""
        weights = self.get_buffer("log_weights").exp()
        which = torch.multinomial(weights, max(1, shape.numel()), replacement=True)[: shape.numel()].reshape(shape)
        return self.decoder._sample(torch.Size(), self.get_buffer("given")[which]), which
