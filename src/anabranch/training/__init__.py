"""Fitting densities to rows."""

from anabranch.training.best_of import fit_best_of
from anabranch.training.diagnosis import NonFiniteError
from anabranch.training.fit import fit
from anabranch.training.history import Epoch, History
from anabranch.training.starting import start_from

__all__ = ["Epoch", "History", "NonFiniteError", "fit", "fit_best_of", "start_from"]
