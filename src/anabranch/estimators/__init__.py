"""Densities with scikit-learn's face: estimators that fit, score, classify, cluster, impute and detect."""

from anabranch.estimators.bayes import BayesClassifier
from anabranch.estimators.clusterer import MixtureClusterer
from anabranch.estimators.density import DensityEstimator
from anabranch.estimators.imputer import DensityImputer
from anabranch.estimators.outliers import DensityOutlierDetector
from anabranch.estimators.semi_supervised import SemiSupervisedClassifier

__all__ = [
    "BayesClassifier",
    "DensityEstimator",
    "DensityImputer",
    "DensityOutlierDetector",
    "MixtureClusterer",
    "SemiSupervisedClassifier",
]
