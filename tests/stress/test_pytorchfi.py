"""The proof does not rest on our own injector: PyTorchFI, with hooks and weight changes of its own."""

from __future__ import annotations

import math
import os
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from holdfast import data, models, protect
from holdfast.stress.outcome import equal, judge

core = pytest.importorskip("pytorchfi.core")
neurons = pytest.importorskip("pytorchfi.neuron_error_models")
weights = pytest.importorskip("pytorchfi.weight_error_models")

BATCH = 8
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    """The trained ResNet-20."""
    weights = Path(os.environ.get("HOLDFAST_DATA", "nowhere"), "cifar10_weights", "resnet20-12fca82f.th")
    if not weights.is_file() or not (weights.parent.parent / "cifar-10-batches-py").is_dir():
        pytest.skip("needs cifar10_weights and cifar-10-batches-py below HOLDFAST_DATA")
    model = models.create("resnet20", in_channels=3, classes=10, size=32, mean=MEAN, std=STD)
    models.load_weights(model, weights)
    return model.eval()


@pytest.fixture(scope="module")
def images(trained: nn.Module) -> Tensor:
    stream = data.open("cifar10", split="test", seed=0, limit=BATCH)
    return torch.as_tensor(next(iter(stream.batches(BATCH, epoch=0, shuffle=False)))[0])


def injector(model: nn.Module) -> Any:
    return core.fault_injection(model, BATCH, input_shape=[3, 32, 32], layer_types=[nn.Conv2d, nn.Linear])


def outcome(faulty: nn.Module, images: Tensor, clean: Tensor) -> str:
    output = faulty(images)
    return judge(output, clean, list(getattr(faulty, "events", [])))


def neuron_fault(tool: Any, layer: int, value: float) -> nn.Module:
    _, *place = neurons.random_neuron_location(tool, layer)
    channel, row, column = ([each] for each in place)
    batch = [random.randrange(BATCH)]
    model: nn.Module = tool.declare_neuron_fi(
        batch=batch, layer_num=[layer], dim1=channel, dim2=row, dim3=column, value=[value]
    )
    return model


def weight_fault(tool: Any, layer: int, value: float) -> nn.Module:
    number, kernel, channel, row, column = weights.random_weight_location(tool, layer)
    model: nn.Module = tool.declare_weight_fi(
        layer_num=number, k=kernel, dim1=channel, dim2=row, dim3=column, value=[value]
    )
    return model


def test_it_sees_the_same_layers_through_the_protection(trained: nn.Module) -> None:
    plain, protected = injector(trained), injector(protect(trained, plan=None))
    assert plain.get_total_layers() == protected.get_total_layers() == 20
    assert plain.get_output_size() == protected.get_output_size()


slow = pytest.mark.slow


@pytest.mark.parametrize(
    ("declare", "value"),
    [
        (neuron_fault, 30.0),
        (neuron_fault, math.nan),
        (weight_fault, 5.0),
        pytest.param(neuron_fault, -1e4, marks=slow),
        pytest.param(neuron_fault, 1e38, marks=slow),
        pytest.param(neuron_fault, math.inf, marks=slow),
        pytest.param(weight_fault, 1e10, marks=slow),
        pytest.param(weight_fault, math.nan, marks=slow),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
@torch.no_grad()
def test_whatever_does_harm_is_corrected(
    trained: nn.Module, images: Tensor, declare: Any, value: float
) -> None:
    protected = protect(trained, plan=None)
    outcomes = {}
    for model in (trained, protected):
        tool, clean = injector(model), model(images)
        random.seed(7)
        # Some of the 19 convolutions: PyTorchFI names weights by four numbers.
        outcomes[model] = [outcome(declare(tool, layer, value), images, clean) for layer in range(0, 19, 4)]
        tool.fi_reset()
        assert equal(model(images), clean)
    assert protected.events == []
    harmful = [plain in ("sdc", "critical") for plain in outcomes[trained]]
    assert sum(harmful) >= 3
    for harm, guarded in zip(harmful, outcomes[protected], strict=True):
        # The weight of a channel that is zero everywhere does nothing, and nothing is found.
        assert guarded in (("corrected", "recomputed") if harm else ("corrected", "recomputed", "masked"))


@torch.no_grad()
def test_a_fault_in_every_layer_at_once(trained: nn.Module, images: Tensor) -> None:
    for model, expected in ((trained, {"sdc", "critical"}), (protect(trained), {"corrected", "recomputed"})):
        tool, clean = injector(model), model(images)
        random.seed(7)
        places = [neurons.random_neuron_location(tool, layer) for layer in range(19)]
        numbers, channels, rows, columns = map(list, zip(*places, strict=True))
        faulty = tool.declare_neuron_fi(
            batch=[layer % BATCH for layer in numbers],
            layer_num=numbers,
            dim1=channels,
            dim2=rows,
            dim3=columns,
            value=[1e3] * 19,
        )
        assert outcome(faulty, images, clean) in expected
        tool.fi_reset()


@torch.no_grad()
def test_what_is_not_to_be_corrected_is_detected(trained: nn.Module, images: Tensor) -> None:
    protected = protect(trained, on_fault="record")
    tool, clean = injector(protected), protected(images)
    random.seed(7)
    for layer in range(0, 19, 6):
        assert outcome(neuron_fault(tool, layer, 1e4), images, clean) == "detected"
        tool.fi_reset()
