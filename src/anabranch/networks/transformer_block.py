"""A block of a causal transformer, and the keys and values that its steps keep."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, gelu, linear, scaled_dot_product_attention

from anabranch.kernels.layout import by_rows, cast
from anabranch.kernels.modes import may_write, no_autocast, takes_operations_alone


class TransformerBlock(nn.Module):
    r"""Attention, then an MLP, each on the normalised stream and added to it (pre-norm).

    .. math::
        h' &= h + O\, \text{softmax}(q^\top k / \sqrt{n})\, v, \qquad q = Q\, n_1(h), \quad (k, v) = K s \\
        h'' &= h' + B\, \text{gelu}(A\, n_2(h') + a) + b

    The source s of keys and values is n_1(h), or comes from elsewhere.

    Args:
        width: of the stream.
        heads: how many there are, each of width / heads numbers.
        expansion: the MLP's inner units for each of the stream's.
        scale: by which the two products that are added to the stream are smaller than others at the start.
        dropout: share of what is added to the stream that a fit silences.
    """

    def __init__(self, width: int, heads: int, expansion: int, scale: float, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query = nn.Linear(width, width, bias=False)
        self.keys_values = nn.Linear(width, 2 * width, bias=False)
        self.attended = nn.Linear(width, width)
        self.inner = nn.Linear(width, expansion * width)
        self.outer = nn.Linear(expansion * width, width)
        with torch.no_grad():
            for layer in (self.attended, self.outer):
                layer.weight.mul_(scale)
                layer.bias.zero_()

    def forward(self, h: Tensor, source: Tensor | None, dtype: torch.dtype | None) -> Tensor:
        """All positions, (rows, positions, width)."""
        normed = self.attention_norm(h)
        query = self._split(linear(*cast(dtype, normed, self.query.weight))[..., None, :])[0]
        kv = self._split(self.told(normed if source is None else source, dtype).unflatten(-1, (2, -1)))
        attended = attention(query, kv[0], kv[1], causal=True)
        return self.mixed(h, attended.transpose(-3, -2).flatten(-2), dtype, self.dropout if self.training else 0.0)

    def attend(self, h: Tensor, kept: KeysAndValues, rows: Tensor | None) -> Tensor:
        """One position, (rows, width), to those of the positions so far that are kept of these rows. Nothing is silenced."""
        query = self.query(self.attention_norm(h)).unflatten(-1, (self.heads, 1, -1))
        keys, values = kept.of(rows)
        attended = attention(query, keys, values, causal=False)
        return self.mixed(h, attended.flatten(1), None, 0.0)

    def told(self, source: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Keys and values, side by side."""
        return linear(*cast(dtype, source, self.keys_values.weight))

    def mixed(self, h: Tensor, attended: Tensor, dtype: torch.dtype | None, silenced: float) -> Tensor:
        """The stream after attention and MLP, of each of which that share is silenced."""
        h = h + _dropped(by_rows(self.attended.weight, self.attended.bias, attended, dtype), silenced)
        inner = gelu(by_rows(self.inner.weight, self.inner.bias, self.mlp_norm(h), dtype))
        return h + _dropped(by_rows(self.outer.weight, self.outer.bias, inner, dtype), silenced)

    def _split(self, values: Tensor) -> Tensor:
        """(rows, positions, parts, width) as (parts, rows, heads, positions, width / heads)."""
        return values.unflatten(-1, (self.heads, -1)).permute(2, 0, 3, 1, 4)


def _dropped(y: Tensor, share: float) -> Tensor:
    return dropout(y, share) if share else y


def attention(query: Tensor, keys: Tensor, values: Tensor, causal: bool) -> Tensor:
    """Attention over the last dimension but one; if causal, query d sees keys 1 to d.

    On a CPU gradients of half-precision attention take 2 to 8 times as long as those of float32, so these are computed.
    """
    if not takes_operations_alone():
        if query.device.type == "cpu" and query.dtype != torch.float64 and torch.is_grad_enabled():
            with no_autocast(query.device):
                attended = scaled_dot_product_attention(query.float(), keys.float(), values.float(), is_causal=causal)
            return attended.to(query.dtype)
        return scaled_dot_product_attention(query, keys, values, is_causal=causal)
    # what is fused has no rules for them
    scores = query @ keys.mT / math.sqrt(query.shape[-1])
    if causal:
        scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), -math.inf)
    return torch.softmax(scores, dim=-1) @ values


class KeysAndValues(ABC):
    """Keys and values of one block, for the positions so far."""

    @abstractmethod
    def append(self, told: Tensor) -> None:
        """Those of the next position, side by side, (rows, 2 width)."""

    @abstractmethod
    def of(self, rows: Tensor | None) -> tuple[Tensor, Tensor]:
        """Keys and values (rows, heads, positions so far, width / heads) of these rows, or of all."""

    @staticmethod
    def like(told: Tensor, rows: int, positions: int, heads: int) -> KeysAndValues:
        """Room for as many, written where it may be."""
        if may_write():
            return WrittenKeysAndValues(told.new_empty(2, rows, heads, positions, told.shape[0] // 2 // heads))
        return RecordedKeysAndValues(told.new_empty(2, rows, heads, 0, told.shape[0] // 2 // heads))


class WrittenKeysAndValues(KeysAndValues):
    """They are written into room for all positions."""

    def __init__(self, room: Tensor) -> None:
        self.room = room
        self.count = 0

    def append(self, told: Tensor) -> None:
        room = self.room
        room.select(3, self.count).copy_(told.view(-1, 2, room.shape[2], room.shape[4]).transpose(0, 1))
        self.count += 1

    def of(self, rows: Tensor | None) -> tuple[Tensor, Tensor]:
        known = self.room.narrow(3, 0, self.count)
        keys, values = known if rows is None else known.index_select(1, rows)
        return keys, values


class RecordedKeysAndValues(KeysAndValues):
    """They stay as they came, through which gradients flow and which `torch.func` may transform."""

    def __init__(self, known: Tensor) -> None:
        self.known = known

    def append(self, told: Tensor) -> None:
        _, rows, heads, _, width = self.known.shape
        new = told.reshape(rows, 2, heads, 1, width).transpose(0, 1)
        self.known = torch.cat([self.known, new], dim=3)

    def of(self, rows: Tensor | None) -> tuple[Tensor, Tensor]:
        keys, values = self.known if rows is None else self.known.index_select(1, rows)
        return keys, values
