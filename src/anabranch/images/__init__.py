"""Images of one size: folders of PNG files and arrays on one side, tensors and likelihoods on the other."""

from anabranch.images.bits_per_dimension import bits_per_dimension
from anabranch.images.collection import Images, ImageWarning, as_images
from anabranch.images.contact_sheet import contact_sheet
from anabranch.images.fit_images import fit_images
from anabranch.images.folder import write_folder
from anabranch.images.model import ImageModel
from anabranch.images.pixels import Pixels
from anabranch.images.read import holds_images, read_images
from anabranch.images.report import ImageReport

__all__ = [
    "ImageModel",
    "ImageReport",
    "ImageWarning",
    "Images",
    "Pixels",
    "as_images",
    "bits_per_dimension",
    "contact_sheet",
    "fit_images",
    "holds_images",
    "read_images",
    "write_folder",
]
