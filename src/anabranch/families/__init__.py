"""Families of distributions of one number, told by parameters which of its members: what a column of a table can be."""

from anabranch.families.atoms import Atoms
from anabranch.families.bernoulli import Bernoulli
from anabranch.families.channels import Channels, SeparateChannels
from anabranch.families.column_by_column import ColumnByColumn, NumberByNumber
from anabranch.families.curve import Curve
from anabranch.families.discretized_logistics import DiscretizedLogistics
from anabranch.families.distribution_function import DistributionFunction
from anabranch.families.family import Family
from anabranch.families.gaussians import Gaussians
from anabranch.families.lattice import Lattice
from anabranch.families.levels import Levels
from anabranch.families.logistics import Logistics
from anabranch.families.mapped import Mapped
from anabranch.families.panel import Panel
from anabranch.families.point_masses import PointMasses
from anabranch.families.student_t import StudentT
from anabranch.families.sub_pixels import SubPixels
from anabranch.families.uniform import Uniform
from anabranch.families.wrapped import Wrapped

__all__ = [
    "Atoms",
    "Bernoulli",
    "Channels",
    "ColumnByColumn",
    "Curve",
    "DiscretizedLogistics",
    "DistributionFunction",
    "Family",
    "Gaussians",
    "Lattice",
    "Levels",
    "Logistics",
    "Mapped",
    "NumberByNumber",
    "Panel",
    "PointMasses",
    "SeparateChannels",
    "StudentT",
    "SubPixels",
    "Uniform",
    "Wrapped",
]
