"""A Keras network by file: as Keras 2 wrote them, made here by hand."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
import torch

from holdfast import models
from holdfast.core.errors import DataError, UsageError
from holdfast.programs.import_weights import run

LAYERS = [
    {
        "class_name": "Conv2D",
        "config": {
            "name": "conv2d",
            "batch_input_shape": [None, 4, 4, 2],
            "filters": 3,
            "kernel_size": [3, 3],
            "strides": [1, 1],
            "padding": "valid",
            "data_format": "channels_last",
            "dilation_rate": [1, 1],
            "activation": "relu",
            "use_bias": True,
        },
    },
    {"class_name": "Flatten", "config": {"name": "flatten", "data_format": "channels_last"}},
    {"class_name": "Dense", "config": {"name": "d", "units": 1, "activation": "sigmoid", "use_bias": True}},
]


def write(path, with_layers=True):
    """A network of two layers in the file format of Keras 2, and its weights."""
    rng = np.random.default_rng(3)
    kernel, bias = rng.standard_normal((3, 3, 2, 3)), rng.standard_normal(3)
    last, shift = rng.standard_normal((12, 1)), rng.standard_normal(1)
    arrays = {
        "conv2d": {"kernel:0": kernel, "bias:0": bias},
        "flatten": {},
        "d": {"kernel:0": last, "bias:0": shift},
    }
    with h5py.File(path, "w") as file:
        if with_layers:
            file.attrs["model_config"] = json.dumps(
                {"class_name": "Sequential", "config": {"layers": LAYERS}}
            )
        group = file.create_group("model_weights") if with_layers else file
        group.attrs["layer_names"] = [name.encode() for name in arrays]
        for name, own in arrays.items():
            group.create_group(name).attrs["weight_names"] = [f"{name}/{key}".encode() for key in own]
            for key, array in own.items():
                group[name].create_dataset(f"{name}/{key}", data=array.astype("f4"))
    return kernel, bias, last, shift


def expected(x, kernel, bias, last, shift):
    """z of one image (4, 4, 2), loop by loop."""
    maps = np.zeros((2, 2, 3))
    for i in range(2):
        for j in range(2):
            maps[i, j] = np.maximum(0, np.tensordot(x[i : i + 3, j : j + 3], kernel, 3) + bias)
    return float((maps.ravel() @ last + shift)[0])


def call(out, weights, **changes):
    given = {"model": None, "name": None, "in_channels": 2, "classes": 2, "size": 4, "options": {}}
    run(out, weights=weights, **{**given, "mean": [], "std": [], **changes})
    return models.load(out / "model.safetensors")


def test_a_keras_network_needs_no_model_named(tmp_path):
    arrays = write(tmp_path / "net.h5")
    model = call(tmp_path, tmp_path / "net.h5")
    assert models.read_meta(tmp_path / "model.safetensors")["name"] == "net"
    x = np.random.default_rng(4).standard_normal((4, 4, 2)).astype("f4")
    with torch.inference_mode():
        logits = model(torch.from_numpy(x.transpose(2, 0, 1)[None].copy()))[0]
    assert float(logits[0]) == 0
    assert float(logits[1]) == pytest.approx(expected(x, *arrays), abs=1e-5)


def test_weights_alone_need_one(tmp_path):
    write(tmp_path / "net.h5")
    whole = call(tmp_path, tmp_path / "net.h5")
    write(tmp_path / "alone.h5", with_layers=False)
    options = {"layers": whole.config.options["layers"]}
    model = call(tmp_path, tmp_path / "alone.h5", model="sequential", options=options)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), whole.parameters(), strict=True))
    with pytest.raises(DataError, match="weights alone"):
        call(tmp_path, tmp_path / "alone.h5")
    torch.save(whole.state_dict(), tmp_path / "net.pt")
    with pytest.raises(UsageError, match="name of the model"):
        call(tmp_path, tmp_path / "net.pt")
