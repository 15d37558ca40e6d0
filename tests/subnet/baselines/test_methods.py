"""Every baseline learns, is exactly what it says, and goes on after a kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from holdfast import data, models
from holdfast.core.errors import UnknownNameError, UsageError
from holdfast.subnet import baselines
from holdfast.subnet.layers import prunable
from holdfast.subnet.rates import adaptive_counts
from holdfast.training import objectives

OPTIONS: dict[str, Any] = {"prune_rate": 0.8, "p": 0.5, "batch_size": 64, "seed": 3}
SLIM = {"in_channels": 1, "classes": 10, "size": 8, "width": 0.5}


@pytest.fixture(scope="module")
def digits() -> tuple[Any, Any]:
    return data.open("digits", split="train", limit=640), data.open("digits", split="val")


def slim(last_norm: bool = False) -> nn.Module:
    return models.create("convnet", last_norm=last_norm, **SLIM)


def kept(model: nn.Module) -> list[int]:
    return [int(layer.weight.count_nonzero()) for layer in prunable(model).values()]


def accuracy(model: nn.Module, digits: tuple[Any, Any]) -> float:
    x, y = next(digits[1].batches(1000))
    with torch.no_grad():
        return float((model(x).argmax(1) == y).float().mean())


CASES = [
    ("at", "float", False),
    ("at", "binary", True),
    ("hydra", "float", True),
    ("hydra", "binary", False),
    ("atmc", "float", False),
    ("atmc", "binary", True),
]


@pytest.mark.parametrize(("method", "weights", "last_norm"), CASES, ids=[f"{m}-{w}" for m, w, _ in CASES])
def test_a_baseline_learns_and_is_what_it_says(
    method: str, weights: Any, last_norm: bool, digits: tuple[Any, Any], tmp_path: Path
) -> None:
    attack = objectives.create("n_fgsm", info=digits[0].info, eps=0.05)
    lr = 0.02 if weights == "binary" and method != "atmc" else 0.1
    found = baselines.train(
        method,
        slim(last_norm),
        digits,
        out=tmp_path,
        weights=weights,
        attack=attack,
        epochs=6,
        lr=lr,
        **OPTIONS,
    )
    assert not found.training
    assert accuracy(found, digits) > 0.5
    sizes = [layer.weight.numel() for layer in prunable(found).values()]
    assert kept(found) == (sizes if method == "at" else adaptive_counts(sizes, 0.8, 0.5))
    if weights == "binary":
        for layer in prunable(found).values():
            values = layer.weight.detach().unique()
            assert len(values[values != 0]) == 2
            assert float(values.sum()) == 0
    models.save(found, tmp_path / "a.safetensors")
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(models.load(tmp_path / "a.safetensors")(x), found(x))
    assert models.load(next(tmp_path.glob("*/best.safetensors"))).config == found.config


class Interrupt:
    """An augmentation that changes nothing, and is interrupted at one step."""

    def __init__(self, at: int | None = None) -> None:
        self.left = at

    def __call__(self, x: Tensor, y: Tensor, generator: object) -> tuple[Tensor, Tensor]:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
        return x, y


def test_a_killed_run_goes_on_in_its_stage(digits: tuple[Any, Any], tmp_path: Path) -> None:
    options = {**OPTIONS, "attack": "cross_entropy", "epochs": 3, "split": (1, 1, 1), "weights": "binary"}
    options |= {"lr": 0.01, "checkpoint_steps": 2}

    def run(folder: str, at: int | None = None) -> nn.Module:
        augment = Interrupt(at)
        return baselines.train("hydra", slim(), digits, out=tmp_path / folder, augment=augment, **options)

    whole = run("whole")
    for stage in ("pretrain", "choose", "finetune"):  # of ten steps each
        with pytest.raises(KeyboardInterrupt):
            run("cut", at=9)
        assert (tmp_path / "cut" / stage / "last.pt").exists()
    resumed = run("cut")
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"weights": "ternary"}, "float or binary"),
        ({"split": (1, 1)}, "3 numbers > 0"),
        ({"epochs": 2}, "as many epochs"),
        ({"prune_rate": 1.0}, r"\[0, 1\)"),
        ({"model": 3}, "a name or a model"),
    ],
)
def test_wrong_values_are_refused(
    changed: dict[str, Any], message: str, digits: tuple[Any, Any], tmp_path: Path
) -> None:
    options = {"model": slim(), "epochs": 3, **OPTIONS, "attack": "cross_entropy", **changed}
    with pytest.raises(UsageError, match=message):
        baselines.train("hydra", data=digits, out=tmp_path, **options)
    with pytest.raises(UnknownNameError, match="hydra"):
        baselines.train("hidra", slim(), digits, out=tmp_path)
