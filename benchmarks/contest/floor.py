"""The floor: the least time that the machine at hand could do a case's work in.

With B rows, W weights that the masks let through (all blocks together), P = B x blocks x moved features x numbers a map:

    log_prob, sample    2 B W operations,    2 x 4 P bytes
    training            6 B W operations,    6 x 4 P bytes
    floor = operations / rate + bytes / bandwidth

- A weight makes one multiplication and one addition for each row: forward, for the gradient of its input, and for its own.
  That the first layers need no gradient of their input is not taken off. Sampling uses each weight once.
- The maps' parameters are by far the largest tensor that is not a matrix product's own affair: written by the last layer and
  read by the map once; in training, read again by the map's backward, which writes their gradient, which two products read.
- Left out, so that the floor stays one: the hidden units, the maps' own arithmetic, the weights and Adam's state, and that
  products this small do not reach the rate of a large one.
- The rate is that of the best of several products of two 2048 x 2048 matrices in float32; the bandwidth that of the best of
  several copies of 256 MiB, bytes read and written; both in the same run, on the same threads.
"""

import itertools
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch

from contest.case import BATCH, BINS, BLOCKS, HIDDEN, Case


@dataclass(frozen=True)
class Machine:
    """What the machine showed in this run."""

    operations_a_second: float
    bytes_a_second: float


@dataclass(frozen=True)
class Work:
    """What a case needs for one work."""

    operations: float
    bytes: float

    def seconds(self, machine: Machine) -> float:
        return self.operations / machine.operations_a_second + self.bytes / machine.bytes_a_second

    def as_numbers(self, machine: Machine) -> dict[str, float]:
        return asdict(self) | {"floor_ms": 1000 * self.seconds(machine)}


def work(case: Case, name: str) -> Work:
    """Operations and bytes of "training", "log_prob" or "sample"."""
    per_map = 2 if case.univariate == "affine" else 3 * BINS - 1
    weights, moved = 0, 0
    for i in range(BLOCKS):
        if case.structure == "autoregressive":
            weights += masked_weights(case.features, per_map)
            moved += case.features
        else:
            kept = (case.features + (i % 2 == 0)) // 2  # the even features in the first block, the odd in the second
            sizes = [kept, *HIDDEN, (case.features - kept) * per_map]
            weights += sum(a * b for a, b in itertools.pairwise(sizes))
            moved += case.features - kept
    parameters = BATCH * moved * per_map
    passes, touches = (3, 6) if name == "training" else (1, 2)
    return Work(operations=2.0 * passes * BATCH * weights, bytes=4.0 * touches * parameters)


def masked_weights(features: int, outputs: int) -> int:
    """The weights that a MADE's masks let through, its hidden degrees spread evenly over 1 ... D - 1."""
    degrees = [torch.arange(1, features + 1)]
    degrees += [1 + torch.arange(width) * (features - 1) // width for width in HIDDEN]
    reach = [*degrees[1:], torch.arange(features).repeat_interleave(outputs)]
    return sum(int((b[:, None] >= a[None, :]).sum()) for a, b in zip(degrees, reach, strict=True))


def measure(device: torch.device, synchronize: Callable[[], None]) -> Machine:
    """The rate of a large matrix product and the bandwidth of a large copy, best of several each."""
    size, megabytes = 2048, 256
    a, b = torch.randn(size, size, device=device), torch.randn(size, size, device=device)
    product = torch.empty_like(a)
    source = torch.randn(megabytes * 2**18, device=device)
    target = torch.empty_like(source)

    def best(action: Callable[[], object], times: int) -> float:
        seconds = []
        for _ in range(times):
            synchronize()
            begun = time.perf_counter()
            action()
            synchronize()
            seconds.append(time.perf_counter() - begun)
        return min(seconds)

    return Machine(
        operations_a_second=2.0 * size**3 / best(lambda: torch.mm(a, b, out=product), 10),
        bytes_a_second=2.0 * source.numel() * 4 / best(lambda: target.copy_(source), 10),
    )
