"""Rows in as few bytes as a model's probabilities allow, and back: the proof that a likelihood is one."""

from anabranch.compression.coder import Cells, Coder
from anabranch.compression.table import Compressed, compress, decompress
from anabranch.compression.tape import DecodingError

__all__ = ["Cells", "Coder", "Compressed", "DecodingError", "compress", "decompress"]
