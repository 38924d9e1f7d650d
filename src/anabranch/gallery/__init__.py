"""Experiments as commands: mixtures of flows on toys, images and tables; models of the plane and of images of each kind."""

from anabranch.gallery.experiments import NAMES, run_experiment
from anabranch.gallery.results import Result
from anabranch.gallery.transport import transport_picture

__all__ = ["NAMES", "Result", "run_experiment", "transport_picture"]
