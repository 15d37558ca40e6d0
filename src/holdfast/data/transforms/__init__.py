"""Transforms of images: small steps in a pipeline that travels as JSON from conversion to CMSSW.

pipeline = Pipeline.from_json([{"name": "crop", "size": 33}, {"name": "compress", "how": "log1p"}])
images = pipeline.apply(images)  # (n, C, H, W) float32
"""

from holdfast.data.transforms.cells import Crop, FoldCells
from holdfast.data.transforms.channels import Channels, SumChannels
from holdfast.data.transforms.layout import Layout, gev_of
from holdfast.data.transforms.moments import Moments
from holdfast.data.transforms.pipeline import STEPS, Pipeline
from holdfast.data.transforms.step import Images, Step
from holdfast.data.transforms.values import Compress, Normalise, Scale, Standardise, ZeroSuppress

__all__ = [
    "STEPS",
    "Channels",
    "Compress",
    "Crop",
    "FoldCells",
    "Images",
    "Layout",
    "Moments",
    "Normalise",
    "Pipeline",
    "Scale",
    "Standardise",
    "Step",
    "SumChannels",
    "ZeroSuppress",
    "gev_of",
]
