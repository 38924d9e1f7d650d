"""The work that is the same for all: which flow, on how many features."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

BATCH = 1024
BLOCKS = 5
HIDDEN = (128, 128)
BINS = 8
BOUND = 5.0  # the splines act within [-5, 5]
LEARNING_RATE = 1e-3
WORKS = ("training", "log_prob", "sample")


@dataclass(frozen=True)
class Case:
    """A flow of 5 blocks, ReLU networks of 128 x 2: a univariate map, a structure, a number of features."""

    features: int
    univariate: str  # "affine" or "spline"
    structure: str  # "coupling" or "autoregressive"

    @property
    def kind(self) -> str:
        return f"{self.univariate}-{self.structure}"

    def batches(self, count: int = 8) -> np.ndarray:
        """Rows to train on and to score, standard normal, (count, BATCH, features): all libraries see the same."""
        shape = (count, BATCH, self.features)
        return np.random.default_rng(self.features).standard_normal(shape, dtype=np.float32)


def all_cases(features: tuple[int, ...] = (8, 63)) -> list[Case]:
    kinds = itertools.product(("affine", "spline"), ("coupling", "autoregressive"))
    return [Case(d, univariate, structure) for univariate, structure in kinds for d in features]


def endlessly(batches: list) -> Iterator:
    return itertools.cycle(batches)
