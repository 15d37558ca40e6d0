"""The packed file: small, exact, and clear about damage."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from subnet_support import masked_model, packed

from holdfast.core.errors import DataError, UsageError
from holdfast.subnet.assembly import stats_of
from holdfast.subnet.layers import masked_layers
from holdfast.subnet.packed import Packed, as_stored
from holdfast.subnet.unpacking import load_packed


@pytest.fixture(params=[0, None], ids=["signs from the seed", "signs in the file"])
def network(request: pytest.FixtureRequest) -> Packed:
    return packed(masked_model(), request.param)


def test_the_module_is_the_network(network: Packed) -> None:
    model = masked_model()
    module = network.to_module()
    for name, layer in masked_layers(model).items():
        assert torch.equal(module.get_submodule(name).weight, layer.effective_weight())
    model.load_state_dict({k: as_stored(k, v) for k, v in stats_of(model).items()}, strict=False)
    x = torch.rand(3, 2, 12, 12)
    with torch.no_grad():
        assert torch.equal(module(x), model(x))


def test_a_file_comes_back_bit_for_bit(network: Packed, tmp_path: Path) -> None:
    network.save(tmp_path / "a.packed")
    assert (tmp_path / "a.packed").stat().st_size == network.nbytes
    again = load_packed(tmp_path / "a.packed")
    again.save(tmp_path / "b.packed")
    assert (tmp_path / "a.packed").read_bytes() == (tmp_path / "b.packed").read_bytes()
    x = torch.rand(2, 2, 12, 12)
    assert torch.equal(again.to_module()(x), network.to_module()(x))
    assert again.kept == network.kept


def test_a_flipped_bit_anywhere_is_an_error(network: Packed, tmp_path: Path) -> None:
    path = tmp_path / "a.packed"
    network.save(path)
    raw = path.read_bytes()
    for place in np.random.default_rng(0).integers(0, len(raw), 150):
        damaged = bytearray(raw)
        damaged[place] ^= 1 << int(place % 8)
        path.write_bytes(damaged)
        with pytest.raises(DataError):
            load_packed(path)
    path.write_bytes(raw[:-7])
    with pytest.raises(DataError, match="fetch the file again"):
        load_packed(path)
    with pytest.raises(DataError, match="expected a file"):
        load_packed(tmp_path / "none")


def test_a_mask_that_does_not_fit_the_model_is_an_error() -> None:
    network = packed(masked_model())
    wrong = dataclasses.replace(network, layers=network.layers[:-1])
    with pytest.raises(DataError, match="classifier missing"):
        wrong.to_module()
    stats = {name: value for name, value in network.stats.items() if "running_var" not in name}
    with pytest.raises(DataError, match="statistics of a packed network"):
        dataclasses.replace(network, stats=stats).to_module()


def test_statistics_beyond_float16_are_refused() -> None:
    assert as_stored("a.running_var", torch.tensor([1e9])) == pytest.approx(1e9, rel=1e-3)
    with pytest.raises(UsageError, match=r"statistics a\.running_mean"):
        as_stored("a.running_mean", torch.tensor([1e9]))
