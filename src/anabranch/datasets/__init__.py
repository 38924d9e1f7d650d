"""Two small real tables that come with the package (datasets/README.md names their sources and licences), and toys."""

from anabranch.datasets.bundled import load_magic, load_penguins, path
from anabranch.datasets.toys import Circles, Pinwheel

__all__ = ["Circles", "Pinwheel", "load_magic", "load_penguins", "path"]
