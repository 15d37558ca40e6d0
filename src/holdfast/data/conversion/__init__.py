"""Detector images of any file format into one HDF5 file a split, which trainings read fast and alike.

holdfast.data.conversion.convert(["jets.parquet"], "jets", transform=[{"name": "crop", "size": 33}])
stream = holdfast.data.open("jets", split="train")
"""

from holdfast.data.conversion.converting import Converted, convert
from holdfast.data.conversion.evidence import Evidence
from holdfast.data.conversion.layout import LAYOUT, verify

__all__ = ["LAYOUT", "Converted", "Evidence", "convert", "verify"]
