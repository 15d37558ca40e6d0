"""Exported networks: a trained ResNet-20 on real images, and a small ViT with attention."""

import os
import pickle
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx_support import Faulty, flipped, run, session
from torch import nn

from holdfast import models
from holdfast.abft.onnx import protect_onnx

DATA = Path(os.environ.get("HOLDFAST_DATA", "nowhere"))
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def exported(model, x, path):
    """``model`` as ONNX with a free batch size."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter announces its successor
        torch.onnx.export(
            model.eval(),
            (x,),
            path,
            dynamo=False,
            opset_version=18,
            input_names=["x"],
            output_names=["y"],
            dynamic_axes={"x": {0: "n"}, "y": {0: "n"}},
        )
    return onnx.load(path)


def trained(tmp_path):
    weights = DATA / "cifar10_weights" / "resnet20-12fca82f.th"
    batch = DATA / "cifar-10-batches-py" / "test_batch"
    if not weights.is_file() or not batch.is_file():
        pytest.skip("needs cifar10_weights and cifar-10-batches-py below HOLDFAST_DATA")
    model = models.create("resnet20", in_channels=3, classes=10, size=32, mean=MEAN, std=STD)
    models.load_weights(model, weights)
    content = pickle.loads(batch.read_bytes(), encoding="bytes")
    images = (content[b"data"].reshape(-1, 3, 32, 32) / 255).astype(np.float32)
    return exported(model, torch.rand(2, 3, 32, 32), tmp_path / "r20.onnx"), images


def test_a_trained_resnet20_decides_as_before_without_a_false_alarm(tmp_path):
    model, images = trained(tmp_path)
    plain = session(model)
    for correct in (False, True):
        protected, reports = protect_onnx(model, correct=correct)
        assert [report.protected for report in reports] == [True] * 20
        active = session(protected)
        names = [item.name for item in active.get_outputs()]
        for batch in (1, 50):
            for start in range(0, 4 * batch, batch):
                x = {"x": images[start : start + batch]}
                found = dict(zip(names, active.run(names, x), strict=True))
                expected = plain.run(["y"], x)[0]
                np.testing.assert_array_equal(found["y"].argmax(1), expected.argmax(1))
                np.testing.assert_allclose(found["y"], expected, atol=1e-4)
                assert found["holdfast_deviation"].max() <= 0.5


def test_exponent_flips_in_a_trained_resnet20_are_corrected(tmp_path):
    model, images = trained(tmp_path)
    network = Faulty(protect_onnx(model, correct=True)[0], {"x": images[:2]})
    draws = np.random.default_rng(0)
    actions = []
    for bit in (30, 28, 25, 23):
        for k in range(len(network.raws)):
            raw = network.raw(k)
            at = tuple(int(i) for i in draws.integers(0, raw.shape))
            hit = flipped(raw[at], bit)
            found = network({k: [(at, hit)]})
            np.testing.assert_array_equal(found["y"].argmax(1), network.clean["y"].argmax(1))
            assert (found["holdfast_deviation"] <= 1).all()
            if abs(float(hit) - float(raw[at])) > 0.05 or not np.isfinite(hit):
                assert found["holdfast_corrected"][k] in (1, 2)
                actions.append(int(found["holdfast_corrected"][k]))
            assert (np.delete(found["holdfast_corrected"], k) == 0).all()
    assert len(actions) >= 60
    assert np.mean(np.array(actions) == 1) > 0.8


class Block(nn.Module):
    """Pre-norm attention and MLP, spelled out in matrix products."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        n, tokens, width = x.shape
        parts = self.qkv(self.norm1(x)).reshape(n, tokens, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        weights = torch.softmax(q @ k.transpose(-1, -2) * (width // self.heads) ** -0.5, -1)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(n, tokens, width))
        return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))


class Transformer(nn.Module):
    """Patches, two blocks, a mean over tokens, a classifier."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 48, 4, 4)
        self.blocks = nn.Sequential(Block(48, 4), Block(48, 4))
        self.head = nn.Linear(48, 10)

    def forward(self, x):
        return self.head(self.blocks(self.patches(x).flatten(2).transpose(1, 2)).mean(1))


def test_attention_is_protected(tmp_path):
    torch.manual_seed(0)
    model = exported(Transformer(), torch.rand(2, 3, 16, 16), tmp_path / "vit.onnx")
    x = {"x": np.random.default_rng(0).random((3, 3, 16, 16), np.float32)}
    protected, reports = protect_onnx(model, correct=True)
    assert len(reports) == 1 + 2 * 6 + 1
    assert all(report.protected for report in reports)
    network = Faulty(protected, x)
    np.testing.assert_allclose(network.clean["y"], run(model, x)["y"], atol=1e-5)
    assert network.clean["holdfast_deviation"].max() <= 0.5
    draws = np.random.default_rng(1)
    for k in range(len(reports)):
        raw = network.raw(k)
        for value in (raw.flat[0] + 100, np.inf, np.nan, -1e38):
            at = tuple(int(i) for i in draws.integers(0, raw.shape))
            found = network({k: [(at, value)]})
            assert found["holdfast_corrected"].tolist() == [int(i == k) for i in range(len(reports))]
            np.testing.assert_allclose(found["y"], network.clean["y"], atol=1e-4)
