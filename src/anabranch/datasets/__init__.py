"""Two small real tables that come with the package; datasets/README.md names their sources and licences."""

from anabranch.datasets.bundled import load_magic, load_penguins, path

__all__ = ["load_magic", "load_penguins", "path"]
