"""Recipes: diffusions of vectors, of images of levels and of rows of a table, with good defaults.

Each returns a `models.Diffusion`, whose parts may be put together by hand as well.
"""

from anabranch.diffusions.images import images
from anabranch.diffusions.rows import rows
from anabranch.diffusions.vectors import vectors

__all__ = ["images", "rows", "vectors"]
