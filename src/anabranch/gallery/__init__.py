"""Experiments as commands: mixtures of flows on toys, images and tables; autoregressive models of images."""

from anabranch.gallery.experiments import NAMES, run_experiment
from anabranch.gallery.results import Result

__all__ = ["NAMES", "Result", "run_experiment"]
