"""Fitting densities to rows."""

from anabranch.training.best_of import fit_best_of
from anabranch.training.diagnosis import NonFiniteError
from anabranch.training.ensembling import fit_ensemble
from anabranch.training.fit import fit
from anabranch.training.fit_prior import fit_prior
from anabranch.training.history import Epoch, History
from anabranch.training.judgement import MissedTargetWarning, Variational, judge_variational
from anabranch.training.lattice import LatticeWarning
from anabranch.training.muon import Muon
from anabranch.training.off_scale import ScaleWarning
from anabranch.training.row_stream import RowStream
from anabranch.training.rows import Rows
from anabranch.training.schedule import Schedule
from anabranch.training.starting import start_from
from anabranch.training.variational import fit_variational

__all__ = [
    "Epoch",
    "History",
    "LatticeWarning",
    "MissedTargetWarning",
    "Muon",
    "NonFiniteError",
    "RowStream",
    "Rows",
    "ScaleWarning",
    "Schedule",
    "Variational",
    "fit",
    "fit_best_of",
    "fit_ensemble",
    "fit_prior",
    "fit_variational",
    "judge_variational",
    "start_from",
]
