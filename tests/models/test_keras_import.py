"""Networks saved by Keras give the same probabilities here; damaged and foreign ones are named."""

from __future__ import annotations

import json
import os
import zipfile

import h5py
import numpy as np
import pytest
import torch

from holdfast import models
from holdfast.core.errors import DataError, UsageError
from holdfast.models.keras_import import import_keras, load_keras_weights

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")
layers = keras.layers
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"  # Keras on NumPy 2
)

CASES = {
    "the proposal's": lambda: [
        layers.Input((12, 12, 2)),
        layers.Conv2D(4, 3, activation="relu"),
        layers.Conv2D(4, 3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Dropout(0.25),
        layers.Flatten(),
        layers.Dense(6, activation="relu"),
        layers.Dropout(0.25),
        layers.Dense(1, activation="sigmoid"),
    ],
    "norms and names": lambda: [
        layers.Input((9, 9, 3)),
        layers.Conv2D(5, 4, 2, padding="same", use_bias=False, name="zuerst"),
        layers.BatchNormalization(),
        layers.LeakyReLU(negative_slope=0.1),
        layers.Conv2D(6, 3, padding="same", groups=1, dilation_rate=2, activation="gelu", name="b"),
        layers.AveragePooling2D(3, 2, padding="same"),
        layers.Flatten(),
        layers.BatchNormalization(scale=False),
        layers.Dense(4, activation="softmax"),
    ],
    "padded pools": lambda: [
        layers.Input((8, 8, 1)),
        layers.ZeroPadding2D(((1, 0), (0, 2))),
        layers.Conv2D(4, 3, 1, activation="tanh"),
        layers.MaxPooling2D(3, 2, padding="same"),
        layers.BatchNormalization(center=False, epsilon=0.01),
        layers.ReLU(max_value=6),
        layers.SpatialDropout2D(0.1),
        layers.GlobalAveragePooling2D(),
        layers.Dense(3),
        layers.Activation("softmax"),
    ],
}


def network(case):
    """A Keras network whose weights and statistics are all random, and images for it."""
    rng = np.random.default_rng(1)
    made = keras.Sequential(CASES[case]())
    made.set_weights(
        [rng.uniform(0.1, 0.6, w.shape) * rng.choice([1, -1], w.shape) for w in made.get_weights()]
    )
    for layer in made.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.moving_variance.assign(rng.uniform(0.5, 2, layer.moving_variance.shape))
    return made, rng.standard_normal((5, *made.input_shape[1:])).astype(np.float32)


def agree(model, made, images):
    expected = made.predict(images, verbose=0)
    with torch.inference_mode():
        got = model(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).softmax(-1).numpy()
    np.testing.assert_allclose(got[:, 1:] if expected.shape[1] == 1 else got, expected, atol=2e-6)
    assert float(expected.std()) > 0.01  # the case says something


@pytest.mark.parametrize(
    "suffix", [".keras", pytest.param(".h5", marks=pytest.mark.filterwarnings("default"))]
)
@pytest.mark.parametrize("case", CASES)
def test_probabilities_are_keras_own(case, suffix, tmp_path):
    made, images = network(case)
    made.save(tmp_path / f"net{suffix}")
    model = import_keras(tmp_path / f"net{suffix}")
    agree(model, made, images)
    models.save(model, tmp_path / "net.safetensors")
    agree(models.load(tmp_path / "net.safetensors"), made, images)


def test_weights_alone_go_into_a_model_with_these_layers(tmp_path):
    made, images = network("the proposal's")
    made.save(tmp_path / "net.keras")
    made.save_weights(tmp_path / "net.weights.h5")
    config = import_keras(tmp_path / "net.keras").config
    model = models.create(**config.arguments()).eval()
    load_keras_weights(model, tmp_path / "net.weights.h5")
    agree(model, made, images)
    with h5py.File(tmp_path / "net.weights.h5", "a") as file:  # as the last releases before Keras 3 had it
        file.move("layers", "_layer_checkpoint_dependencies")
    older = models.create(**config.arguments()).eval()
    load_keras_weights(older, tmp_path / "net.weights.h5")
    agree(older, made, images)
    with pytest.raises(DataError, match=r"weights alone.*name a model"):
        import_keras(tmp_path / "net.weights.h5")
    for name, size, says in (("cnn_egamma", 32, "shapes"), ("resnet15", 12, "list of layers")):
        other = models.create(name, in_channels=2, classes=2, size=size)
        with pytest.raises(DataError, match=says):
            load_keras_weights(other, tmp_path / "net.weights.h5")


def test_the_proposals_network_is_the_one_in_the_zoo(tmp_path):
    sizes = [(16, 3), (16, 3), (32, 3), (32, 3)]
    parts = [layers.Input((32, 32, 2))]
    for place, (filters, kernel) in enumerate(sizes):
        parts += [layers.Conv2D(filters, kernel, activation="relu")]
        parts += [layers.MaxPooling2D(2)] if place else []
    parts += [
        layers.Flatten(),
        layers.Dense(96, "relu"),
        layers.Dense(16, "relu"),
        layers.Dense(1, "sigmoid"),
    ]
    made = keras.Sequential(parts)
    assert made.count_params() == 30_465
    made.save_weights(tmp_path / "best.weights.h5")
    model = models.create("cnn_egamma", in_channels=2, classes=2, size=32).eval()
    load_keras_weights(model, tmp_path / "best.weights.h5")
    images = np.random.default_rng(0).standard_normal((4, 32, 32, 2)).astype(np.float32)
    expected = made.predict(images, verbose=0)[:, 0]
    with torch.inference_mode():
        logits = model(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
    np.testing.assert_allclose(logits.softmax(-1)[:, 1].numpy(), expected, atol=2e-6)


REFUSED = {
    "Conv2DTranspose": (lambda: [layers.Input((8, 8, 1)), layers.Conv2DTranspose(2, 3)], "Conv2D, Dense"),
    "Rescaling": (
        lambda: [layers.Input((8, 8, 1)), layers.Rescaling(2.0), layers.Flatten(), layers.Dense(2)],
        "Rescaling",
    ),
    "not square": (lambda: [layers.Input((8, 9, 1)), layers.Flatten(), layers.Dense(2)], "square"),
    "two sigmoids": (
        lambda: [layers.Input((8, 8, 1)), layers.Flatten(), layers.Dense(2, "sigmoid")],
        "one sigmoid",
    ),
    "a map at the end": (lambda: [layers.Input((8, 8, 1)), layers.Conv2D(2, 3)], "logits"),
    "a dense layer of maps": (
        lambda: [layers.Input((8, 8, 8)), layers.Dense(2), layers.Flatten(), layers.Dense(2)],
        "flatten",
    ),
    "swish of softplus": (
        lambda: [layers.Input((8, 8, 1)), layers.Flatten(), layers.Dense(2, "exponential")],
        "exponential",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_counterpart_is_named(case, tmp_path):
    make, says = REFUSED[case]
    keras.Sequential(make()).save(tmp_path / "net.keras")
    with pytest.raises(DataError, match=says):
        import_keras(tmp_path / "net.keras")


def test_damaged_and_foreign_files_are_named(tmp_path):
    path = tmp_path / "net.keras"
    with pytest.raises(DataError, match="none there"):
        import_keras(path)
    network("the proposal's")[0].save(path)
    whole = path.read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"PK\x03\x04" + bytes(99)):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"net\.keras"):
            import_keras(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps({"class_name": "Functional", "config": {}}))
        with h5py.File(tmp_path / "empty.h5", "w") as file:
            file.create_group("layers")
        archive.write(tmp_path / "empty.h5", "model.weights.h5")
    with pytest.raises(DataError, match=r"Sequential.*Functional"):
        import_keras(path)
    with pytest.raises(UsageError, match=r"\.keras"):
        import_keras(tmp_path / "net.onnx")
