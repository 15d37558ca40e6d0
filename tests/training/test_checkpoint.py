import pytest
import torch

from holdfast.core.errors import DataError, UsageError
from holdfast.training import checkpoint
from holdfast.training.checkpoint import TrainingState


@pytest.fixture
def parts():
    model = torch.nn.Linear(2, 3)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return model, optimizer


def test_state_model_and_optimizer_come_back_exactly(parts, tmp_path):
    state = TrainingState(epoch=2, step=7, loss_sum=0.1 + 0.2, images=9, history=[{"epoch": 1}], best=1 / 3)
    checkpoint.save(tmp_path / "last.pt", {"lr": 0.1}, state, *parts)
    model = torch.nn.Linear(2, 3)
    optimizer = torch.optim.AdamW(model.parameters())
    assert checkpoint.load(tmp_path / "last.pt", {"lr": 0.1}, model, optimizer) == state
    assert torch.equal(model.weight, parts[0].weight)
    before, after = parts[1].state_dict()["state"][0], optimizer.state_dict()["state"][0]
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_no_checkpoint_is_none(parts, tmp_path):
    assert checkpoint.load(tmp_path / "last.pt", {}, *parts) is None


def test_differing_settings_are_named(parts, tmp_path):
    checkpoint.save(tmp_path / "last.pt", {"lr": 0.1, "old": 1, "same": [1]}, TrainingState(), *parts)
    with pytest.raises(UsageError, match=r"expected lr=0\.1, new=None, old=1, got lr=0\.2, new=2, old=None"):
        checkpoint.load(tmp_path / "last.pt", {"lr": 0.2, "new": 2, "same": (1,)}, *parts)


@pytest.mark.parametrize("damage", [b"", b"nonsense", None], ids=["empty", "nonsense", "cut"])
def test_damage_is_named(parts, tmp_path, damage):
    path = tmp_path / "last.pt"
    checkpoint.save(path, {}, TrainingState(), *parts)
    path.write_bytes(path.read_bytes()[:-50] if damage is None else damage)
    with pytest.raises(DataError, match=r"last\.pt.*delete it"):
        checkpoint.load(path, {}, *parts)


def test_foreign_content_is_named(parts, tmp_path):
    torch.save({"format": "other/1"}, tmp_path / "last.pt")
    with pytest.raises(DataError, match="other/1"):
        checkpoint.load(tmp_path / "last.pt", {}, *parts)


def test_clean_removes_leftovers_of_its_own_names_only(tmp_path):
    for name in (".last.pt.abc.part", ".other.abc.part", "last.pt"):
        (tmp_path / name).touch()
    checkpoint.clean(tmp_path, ("last.pt", "best.safetensors"))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other.abc.part", "last.pt"]
    checkpoint.clean(tmp_path / "missing", ("last.pt",))
