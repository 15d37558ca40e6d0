"""The keeper of pristine weights: what changed is found by its bytes, and reloaded from where it was kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from holdfast import protect
from holdfast.abft.weights import Keeper, Pristine, WeightFault, crc
from holdfast.core.errors import DataError, UsageError, WeightsChanged


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    last = torch.channels_last
    odd = (
        nn.Conv2d(3, 4, 1).to(memory_format=last),
        nn.BatchNorm2d(4),
        nn.Conv2d(4, 2, 3).to(memory_format=last),
    )
    return nn.Sequential(*odd).eval()


def damage(tensor: Tensor, element: int = 0, bit: int = 20) -> None:
    """Flip a bit in memory; torch is not told."""
    words = tensor.detach().untyped_storage()
    at = element * tensor.element_size() + bit // 8
    words[at] = words[at] ^ (1 << bit % 8)


def keepers(model: nn.Module, kind: str, tmp_path: Path) -> Keeper:
    """One of each way to keep a copy."""
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    ways: dict[str, Pristine] = {
        "memory": "memory",
        "file": tmp_path / "weights.safetensors",
        "function": state.__getitem__,
        "none": None,
    }
    return Keeper(model, ways[kind])


@pytest.mark.parametrize("kind", ["memory", "file", "function"])
@pytest.mark.parametrize("name", ["0.weight", "1.running_var", "2.weight", "2.bias", "1.num_batches_tracked"])
@pytest.mark.parametrize("bit", [0, 20, 30])
def test_every_flipped_bit_is_found_and_mended(
    model: nn.Module, tmp_path: Path, kind: str, name: str, bit: int
) -> None:
    keeper = keepers(model, kind, tmp_path)
    tensor = model.state_dict()[name]
    pristine = tensor.clone()
    assert keeper.damaged() == keeper.repair() == []
    damage(tensor, tensor.numel() - 1, bit)
    assert keeper.damaged() == [name]
    assert keeper.damaged("1" if name[0] != "1" else "0") == []
    assert keeper.repair(name[0]) == [WeightFault(name, 1, True)]
    assert torch.equal(tensor, pristine)
    assert keeper.damaged() == []
    assert keeper.bytes_kept == (
        sum(t.nbytes for t in model.state_dict().values()) if kind == "memory" else 0
    )


def test_without_a_copy_damage_is_told(model: nn.Module, tmp_path: Path) -> None:
    keeper = keepers(model, "none", tmp_path)
    damage(model[0].weight)
    assert keeper.repair() == [WeightFault("0.weight", None, False)]
    assert keeper.damaged() == ["0.weight"]


def test_a_copy_that_is_damaged_itself_is_not_used(model: nn.Module, tmp_path: Path) -> None:
    keeper = keepers(model, "memory", tmp_path)
    damage(keeper._copies["0.weight"])
    assert keeper.repair() == []
    damage(model[0].weight, 3)
    damaged = model[0].weight.detach().clone()
    assert keeper.repair() == [WeightFault("0.weight", None, False)]
    assert torch.equal(model[0].weight, damaged)


def test_a_deliberate_change_is_no_fault(model: nn.Module, tmp_path: Path) -> None:
    keeper = keepers(model, "memory", tmp_path)
    with torch.no_grad():
        model[0].weight.mul_(2)
    with pytest.raises(WeightsChanged, match=r"'0.weight'.*refresh"):
        keeper.repair()
    keeper.refresh()
    assert keeper.repair() == []


def test_many_bits_flipped_by_no_one_are_a_fault(model: nn.Module, tmp_path: Path) -> None:
    keeper = keepers(model, "memory", tmp_path)
    pristine = model[0].weight.detach().clone()
    for element in range(model[0].weight.numel()):
        damage(model[0].weight, element)
    assert keeper.repair() == [WeightFault("0.weight", model[0].weight.numel(), True)]
    assert torch.equal(model[0].weight, pristine)


def test_a_file_follows_a_change_only_if_it_was_written_for_this_model(tmp_path: Path) -> None:
    model, path = nn.Linear(3, 4), tmp_path / "weights.safetensors"
    writer, reader = Keeper(model, path), Keeper(model, path)
    model.double()
    reader.refresh()  # the same weights, in another dtype
    damage(model.weight, 5, 62)
    assert reader.repair() == [WeightFault("weight", 1, True)]
    with torch.no_grad():
        model.weight.add_(1)
    with pytest.raises(UsageError, match="others for weight"):
        reader.refresh()
    with pytest.raises(WeightsChanged):
        reader.repair()
    writer.refresh()
    damage(model.weight, 5, 62)
    assert writer.repair() == [WeightFault("weight", 1, True)]


def test_a_large_tensor_of_which_nothing_is_left_was_changed_behind_the_back_of_torch() -> None:
    model = nn.Linear(16, 16)
    keeper = Keeper(model)
    model.weight.data[:4] *= 2
    assert keeper.repair() == [WeightFault("weight", 64, True)]
    model.weight.data *= 2
    with pytest.raises(WeightsChanged, match=r"'weight'.*refresh.*load its weights again"):
        keeper.repair()


def test_a_file_that_is_lost_or_spoiled_repairs_nothing(model: nn.Module, tmp_path: Path) -> None:
    keeper = keepers(model, "file", tmp_path)
    damage(model[0].weight)
    for spoil in (lambda file: file.write_bytes(b"spoiled"), Path.unlink):
        spoil(tmp_path / "weights.safetensors")
        assert keeper.repair() == [WeightFault("0.weight", None, False)]


def test_files(model: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    Keeper(model, path)
    Keeper(model, str(path))
    with torch.no_grad():
        model[0].weight.mul_(2)
    with pytest.raises(UsageError, match=r"others for 0\.weight"):
        Keeper(model, path)
    save_file({"0.weight": model[0].weight.detach().contiguous()}, path)
    with pytest.raises(UsageError, match=r"others for 0\.bias"):
        Keeper(model, path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match="a safetensors file"):
        Keeper(model, path)


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_lazy_modules_have_nothing_to_keep_yet() -> None:
    model = nn.ModuleDict({"lazy": nn.LazyLinear(4), "plain": nn.Linear(4, 4)})
    keeper = Keeper(model)
    assert keeper.damaged() == []
    assert keeper.repair() == []


@torch.inference_mode()
def test_inference_tensors(tmp_path: Path) -> None:
    model = nn.Linear(3, 4)
    keeper = keepers(model, "memory", tmp_path)
    damage(model.weight)
    assert keeper.repair() == [WeightFault("weight", 1, True)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int64, torch.bool])
def test_bytes_in_row_major_order(dtype: torch.dtype) -> None:
    plain = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)).mul(9).to(dtype)
    assert crc(plain) == crc(plain.to(memory_format=torch.channels_last))
    assert crc(plain[:, :1]) == crc(plain[:, :1].clone())
    assert crc(torch.empty(0)) == 0


def test_a_protected_model_verifies_itself(model: nn.Module) -> None:
    protected: Any = protect(model)
    damage(model[2].weight, 5)
    assert protected.verify_weights(repair=False) == [WeightFault("2.weight", None, False)]
    assert protected.verify_weights() == [WeightFault("2.weight", 1, True)]
    assert protected.verify_weights() == []
