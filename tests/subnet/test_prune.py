"""A search leaves the weights alone, finds something, and survives a kill."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from holdfast import data
from holdfast.core.errors import DataError, UsageError
from holdfast.subnet import Subnetwork, adaptive_counts, load_packed, prune
from holdfast.subnet.subnetwork import Recipe

OPTIONS = {"prune_rate": 0.8, "p": 0.5, "batch_size": 128, "lr": 0.1, "seed": 3}


@pytest.fixture(scope="module")
def digits() -> tuple[object, object]:
    return data.open("digits", split="train"), data.open("digits", split="val")


@pytest.fixture(scope="module")
def found(digits: tuple[object, object], tmp_path_factory: pytest.TempPathFactory) -> Subnetwork:
    return prune("cnn", digits, out=tmp_path_factory.mktemp("s"), attack="cross_entropy", epochs=4, **OPTIONS)


def test_it_learns_by_choosing_alone(found: Subnetwork, digits: tuple[object, object]) -> None:
    x, y = next(digits[1].batches(1000))
    with torch.no_grad():
        assert (found.model(x).argmax(1) == y).float().mean() > 0.7
    fresh = Subnetwork(found.config, found.recipe)
    for name, layer in found.layers.items():
        assert torch.equal(layer.weight, fresh.layers[name].weight)
        assert set(layer.weight.unique().tolist()) == {-1.0, 1.0}
        whole = layer.kept == layer.weight.numel()
        assert torch.equal(layer.mask, fresh.masks[name]) == whole
    sizes = [layer.weight.numel() for layer in found.layers.values()]
    assert [int(mask.sum()) for mask in found.masks.values()] == adaptive_counts(sizes, 0.8, 0.5)


def test_files_come_back(found: Subnetwork, tmp_path: Path) -> None:
    x = torch.rand(4, 1, 8, 8)
    found.save(tmp_path / "scores.safetensors")
    again = Subnetwork.load(tmp_path / "scores.safetensors")
    assert torch.equal(again.model(x), found.model(x))
    found.pack(meta={"note": "digits"}).save(tmp_path / "a.packed")
    loaded = load_packed(tmp_path / "a.packed")
    assert loaded.meta == {"note": "digits"}
    assert torch.allclose(loaded.to_module()(x), found.model(x), atol=0.02)
    explicit = found.pack(explicit_signs=True)
    assert torch.equal(explicit.to_module()(x), loaded.to_module()(x))
    assert explicit.nbytes > loaded.nbytes
    with pytest.raises(DataError, match="subnetwork"):
        Subnetwork.load(tmp_path / "a.packed")


def test_under_norms_the_scale_of_the_weights_does_not_matter(found: Subnetwork) -> None:
    x = torch.rand(64, 1, 8, 8)
    outs = []
    for init in ("binary", "kaiming_constant"):
        network = Subnetwork(found.config, Recipe(5, found.recipe.counts, init=init))
        network.model.load_state_dict(
            {k: v for k, v in found.model.state_dict().items() if "scores" in k}, strict=False
        )
        torch.manual_seed(0)  # for dropout
        outs.append(network.model.train()(x))
    torch.testing.assert_close(outs[0], outs[1], atol=0.02, rtol=0)


def test_a_search_that_was_stopped_goes_on(digits: tuple[object, object], tmp_path: Path) -> None:
    options = {**OPTIONS, "attack": "n_fgsm", "epochs": 2}
    whole = prune("cnn", digits, out=tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        prune("cnn", digits, out=tmp_path / "cut", augment=Interrupt(12), checkpoint_steps=3, **options)
    resumed = prune("cnn", digits, out=tmp_path / "cut", augment=Interrupt(), checkpoint_steps=3, **options)
    for name, mask in whole.masks.items():
        assert torch.equal(resumed.masks[name], mask)


class Interrupt:
    """An augmentation that changes nothing, and is interrupted at one step."""

    def __init__(self, at: int | None = None) -> None:
        self.left = at

    def __call__(self, x: torch.Tensor, y: torch.Tensor, generator: torch.Generator) -> tuple[object, object]:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
        return x, y


def test_layers_without_norm_are_warned_about_and_run(digits: tuple[object, object], tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="no normalisation follows layer classifier"):
        prune("cnn", digits, out=tmp_path, attack="cross_entropy", epochs=1, last_norm=False, **OPTIONS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prune_rate": 1.0}, r"\[0, 1\)"),
        ({"p": -1.0}, "finite number >= 0"),
        ({"prune_rate": 0.99999}, "prune at most"),
        ({"init": "ternary"}, "binary, kaiming_constant"),
        ({"counts": [1, 2]}, "one a layer"),
        ({"attack": "pgd", "model": 3}, "a name or a model"),
    ],
)
def test_bad_input_is_refused(
    digits: tuple[object, object], tmp_path: Path, options: dict[str, object], message: str
) -> None:
    arguments = {"model": "cnn", **OPTIONS, **options}
    with pytest.raises(UsageError, match=message):
        prune(arguments.pop("model"), digits, out=tmp_path, epochs=1, **arguments)
    assert not list(tmp_path.iterdir())


def test_normal_weights_cannot_be_packed(found: Subnetwork) -> None:
    normal = Subnetwork(found.config, Recipe(0, found.recipe.counts, init="kaiming_normal"))
    with pytest.raises(UsageError, match="--init binary"):
        normal.pack()
