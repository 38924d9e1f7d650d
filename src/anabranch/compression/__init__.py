"""Rows in as few bytes as a model's probabilities allow, and back: the proof that a likelihood is one."""

from anabranch.compression.array import compress_array, decompress_array
from anabranch.compression.coder import Cells, Coder
from anabranch.compression.compressed import Compressed
from anabranch.compression.table import compress, decompress
from anabranch.compression.tape import DecodingError

__all__ = [
    "Cells",
    "Coder",
    "Compressed",
    "DecodingError",
    "compress",
    "compress_array",
    "decompress",
    "decompress_array",
]
