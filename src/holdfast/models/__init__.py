"""The zoo of models, one family a file, and the files they are kept in."""

from holdfast.models import (
    alexnet,
    calibrated,
    cct,
    cnn,
    convnet,
    deep_vit,
    ensemble,
    mobilenet,
    resnet,
    resnet_imagenet,
    scalable_vit,
    sequential,
    simple_vit,
    vgg,
    vit,
    yolo,
)
from holdfast.models.config import ModelConfig
from holdfast.models.io import load, read_meta, save
from holdfast.models.keras_import import import_keras, load_keras_weights
from holdfast.models.state import load_weights
from holdfast.models.zoo import create, names, options, registry

__all__ = [
    "ModelConfig",
    "alexnet",
    "calibrated",
    "cct",
    "cnn",
    "convnet",
    "create",
    "deep_vit",
    "ensemble",
    "import_keras",
    "load",
    "load_keras_weights",
    "load_weights",
    "mobilenet",
    "names",
    "options",
    "read_meta",
    "registry",
    "resnet",
    "resnet_imagenet",
    "save",
    "scalable_vit",
    "sequential",
    "simple_vit",
    "vgg",
    "vit",
    "yolo",
]
