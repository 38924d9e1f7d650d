"""What a fit can minimise, and what can be added to it."""

from anabranch.objectives.annihilation import Annihilation
from anabranch.objectives.completion import Completion
from anabranch.objectives.consistency import Consistency
from anabranch.objectives.depth import Depth
from anabranch.objectives.enumerated import Enumerated
from anabranch.objectives.flow_matching import FlowMatching
from anabranch.objectives.importance_weighted import ImportanceWeighted
from anabranch.objectives.information import Information
from anabranch.objectives.likelihood import Likelihood
from anabranch.objectives.lower_bound import LowerBound
from anabranch.objectives.objective import Batch, Objective, UnsettledWarning
from anabranch.objectives.random_member import RandomMember
from anabranch.objectives.relaxed import Relaxed
from anabranch.objectives.score_function import MultiSample, ScoreFunction
from anabranch.objectives.semi_supervised import SemiSupervised
from anabranch.objectives.variational import VariationalBound

__all__ = [
    "Annihilation",
    "Batch",
    "Completion",
    "Consistency",
    "Depth",
    "Enumerated",
    "FlowMatching",
    "ImportanceWeighted",
    "Information",
    "Likelihood",
    "LowerBound",
    "MultiSample",
    "Objective",
    "RandomMember",
    "Relaxed",
    "ScoreFunction",
    "SemiSupervised",
    "UnsettledWarning",
    "VariationalBound",
]
