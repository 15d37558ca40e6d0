"""The zoo of models, one family a file, and the files they are kept in."""

from holdfast.models import cnn, resnet
from holdfast.models.config import ModelConfig
from holdfast.models.io import load, read_meta, save
from holdfast.models.state import load_weights
from holdfast.models.zoo import create, names, options, registry

__all__ = [
    "ModelConfig",
    "cnn",
    "create",
    "load",
    "load_weights",
    "names",
    "options",
    "read_meta",
    "registry",
    "resnet",
    "save",
]
