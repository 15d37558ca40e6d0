from __future__ import annotations

import pytest
import torch
from stress_support import make_net
from torch import Tensor

from holdfast.core.errors import UsageError
from holdfast.stress import DeadChannels, MaskedPatches

Y = torch.zeros(5, dtype=torch.long)


def masked(x: Tensor, rate: float, seed: int = 0) -> Tensor:
    with DeadChannels(rate).apply(make_net(), x, Y, torch.Generator().manual_seed(seed)) as stressed:
        return stressed.x


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize(("rate", "dead"), [(0.0, 0), (0.25, 16), (1.0, 64), (0.01, 1)])
def test_one_map_for_all_images_and_channels(rate: float, dead: int, layout: torch.memory_format) -> None:
    x = (torch.rand(5, 3, 8, 8) + 0.1).contiguous(memory_format=layout)
    result = masked(x, rate)
    cells = (result == 0).flatten(2)
    assert cells[0, 0].sum() == dead
    assert (cells == cells[0, 0]).all()
    alive = ~cells
    assert torch.equal(result.flatten(2)[alive], x.flatten(2)[alive])


def test_another_trial_another_map() -> None:
    x = torch.ones(5, 1, 8, 8)
    assert not torch.equal(masked(x, 0.2, 0), masked(x, 0.2, 1))


def test_a_dead_cell_forgets_nan() -> None:
    assert not masked(torch.full((5, 1, 4, 4), float("nan")), 1.0).any()


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_wrong_rate(rate: float) -> None:
    with pytest.raises(UsageError):
        DeadChannels(rate)


def test_needs_cells() -> None:
    with pytest.raises(UsageError, match="cells"):
        masked(torch.ones(5, 3), 0.1)


def patched(x: Tensor, count: int, patch: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    with MaskedPatches(count, patch).apply(make_net(), x, Y[: len(x)], generator) as stressed:
        return stressed.x


def test_each_image_has_a_square_of_its_own() -> None:
    x = torch.rand(5, 2, 9, 7) + 0.1
    result = patched(x, 1, 3)
    hidden = (result == 0).all(1)
    assert (hidden.sum((1, 2)) == 9).all()
    assert torch.equal(result[:, 0] == 0, result[:, 1] == 0)
    assert torch.equal(result[(result != 0)], x[(result != 0)])
    for image in hidden:
        rows, columns = image.any(1).nonzero(), image.any(0).nonzero()
        assert rows.max() - rows.min() == columns.max() - columns.min() == 2
    assert any(not torch.equal(image, hidden[0]) for image in hidden)


def test_squares_reach_every_cell_and_may_be_none_or_all() -> None:
    x = torch.ones(5, 1, 4, 4)
    assert torch.equal(patched(x, 0, 2), x)
    assert not patched(x, 1, 4).any()
    assert not patched(x, 200, 2).any()


@pytest.mark.parametrize("options", [{"count": -1}, {"patch": 0}, {"count": 1.5}])
def test_wrong_patches(options: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        MaskedPatches(**options)


def test_a_patch_fits_into_the_images() -> None:
    with pytest.raises(UsageError, match="4×4"):
        patched(torch.ones(5, 1, 8, 3), 1, 4)
