"""Recipes: the well-known flows as chains of named blocks, with good defaults.

Each returns a `Chain` for `Flow` or `DepthMixture`. Every prefix of its blocks is a transform too.
"""

from anabranch.flows.angles import circular
from anabranch.flows.continuous import continuous
from anabranch.flows.dequantisation import dequantisation
from anabranch.flows.images import glow, realnvp_image
from anabranch.flows.monotone import bernstein, naf
from anabranch.flows.residual import residual
from anabranch.flows.tarflow import tarflow
from anabranch.flows.vectors import iaf, maf, nice, nsf, realnvp
from anabranch.flows.whole_vectors import householder, planar, radial, sylvester

__all__ = [
    "bernstein",
    "circular",
    "continuous",
    "dequantisation",
    "glow",
    "householder",
    "iaf",
    "maf",
    "naf",
    "nice",
    "nsf",
    "planar",
    "radial",
    "realnvp",
    "realnvp_image",
    "residual",
    "sylvester",
    "tarflow",
]
