"""Fitting densities to rows."""

from anabranch.training.diagnosis import NonFiniteError
from anabranch.training.fit import fit
from anabranch.training.history import Epoch, History

__all__ = ["Epoch", "History", "NonFiniteError", "fit"]
