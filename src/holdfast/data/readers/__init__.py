"""Readers: detector images from any file they come in, as a stream of blocks in bounded memory.

reader = holdfast.data.readers.open_reader("jets.parquet")
for block in reader.blocks(rows=256): ...  # block.images (n, C, H, W) float32, block.columns["m0"] (n,)
"""

from holdfast.data.readers.block import Block, OnCorrupt, Reader
from holdfast.data.readers.opening import FORMATS, open_reader

__all__ = ["FORMATS", "Block", "OnCorrupt", "Reader", "open_reader"]
