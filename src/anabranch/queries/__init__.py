"""Questions to any density: marginals, conditionals, expectations, probabilities, quantiles, modes, and gaps filled."""

from anabranch.densities import AtContext
from anabranch.queries.annealed import annealed
from anabranch.queries.answer import Answer, Line
from anabranch.queries.columns import Columns, Plain
from anabranch.queries.conditional import conditional
from anabranch.queries.encode import encode
from anabranch.queries.estimate import Estimate, ImpossibleError, QueryWarning
from anabranch.queries.estimated_subset import Diagnosis, EstimatedSubset
from anabranch.queries.expectation import expectation
from anabranch.queries.grammar import parse
from anabranch.queries.impute import impute
from anabranch.queries.latent_report import LatentReport, latent_report
from anabranch.queries.leave_one_out import leave_one_out
from anabranch.queries.marginal import marginal
from anabranch.queries.mode import Mode, mode
from anabranch.queries.probability import probability
from anabranch.queries.quantile import quantile
from anabranch.queries.question import Question, QuestionError
from anabranch.queries.questions import ask
from anabranch.queries.refine import Refined, refine
from anabranch.queries.region import AnyOf, Interval

__all__ = [
    "Answer",
    "AnyOf",
    "AtContext",
    "Columns",
    "Diagnosis",
    "Estimate",
    "EstimatedSubset",
    "ImpossibleError",
    "Interval",
    "LatentReport",
    "Line",
    "Mode",
    "Plain",
    "QueryWarning",
    "Question",
    "QuestionError",
    "Refined",
    "annealed",
    "ask",
    "conditional",
    "encode",
    "expectation",
    "impute",
    "latent_report",
    "leave_one_out",
    "marginal",
    "mode",
    "parse",
    "probability",
    "quantile",
    "refine",
]
