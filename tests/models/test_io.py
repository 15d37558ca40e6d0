import pytest
import torch
from torch import nn

from holdfast import models
from holdfast.core.errors import DataError, StorageError, UsageError


@pytest.fixture
def model():
    torch.manual_seed(1)
    made = models.create("cnn", in_channels=1, classes=3, size=8, width=0.5, mean=(0.5,), std=(0.25,))
    made.train()(torch.rand(16, 1, 8, 8))  # running statistics leave their defaults
    return made


def test_a_saved_model_comes_back_in_eval_mode(model, tmp_path):
    path = tmp_path / "deep" / "m.safetensors"
    models.save(model, path, {"name": "é", "n": 3})
    loaded = models.load(path)
    x = torch.rand(3, 1, 8, 8)
    assert not loaded.training
    assert torch.equal(loaded(x), model.eval()(x))
    assert loaded.config == model.config
    assert models.read_meta(path) == {"name": "é", "n": 3}


def test_equal_models_give_equal_bytes_whatever_their_memory_format(model, tmp_path):
    for name in ("a", "b"):
        models.save(model, tmp_path / f"{name}.safetensors", {"x": 1, "y": 2})
        model.to(memory_format=torch.channels_last)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_a_model_that_the_zoo_did_not_make_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"models\.create"):
        models.save(nn.Linear(1, 1), tmp_path / "m.safetensors")


def test_failing_to_write_keeps_the_old_file(model, tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    models.save(model, path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        models.save(model, path, {"new": True})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("keep", [0, 4, 100, -1], ids=["empty", "four bytes", "header cut", "last byte cut"])
def test_a_truncated_model_file_is_named(model, tmp_path, keep):
    path = tmp_path / "m.safetensors"
    models.save(model, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"m\.safetensors"):
        models.load(path)


def test_missing_and_foreign_files_are_named(tmp_path):
    with pytest.raises(DataError, match="none there"):
        models.load(tmp_path / "none.safetensors")
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(DataError, match="import-weights"):
        models.read_meta(tmp_path / "foreign.safetensors")
