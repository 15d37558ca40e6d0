import pickle

import pytest
import torch
from safetensors.torch import save_file

from holdfast import models
from holdfast.core.errors import DataError, UsageError


def make():
    return models.create("cnn", in_channels=1, classes=3, size=8, width=0.5)


def equal(a, b):
    return all(torch.equal(x, b.state_dict()[key]) for key, x in a.state_dict().items())


@pytest.mark.parametrize(
    ("suffix", "wrap"),
    [
        (".pt", lambda state: state),
        (".th", lambda state: {"state_dict": state, "best_prec1": 91.0}),
        (".pth", lambda state: {f"module.{key}": value for key, value in state.items()}),
        (".th", lambda state: {"state_dict": {f"module.{key}": value for key, value in state.items()}}),
    ],
    ids=["plain", "wrapped", "prefixed", "wrapped and prefixed"],
)
def test_torch_files_load(tmp_path, suffix, wrap):
    source, target = make(), make()
    torch.save(wrap(source.state_dict()), tmp_path / f"w{suffix}")
    models.load_weights(target, tmp_path / f"w{suffix}")
    assert equal(source, target)


def test_safetensors_and_missing_step_counters_load(tmp_path):
    source, target = make(), make()
    state = {k: v for k, v in source.state_dict().items() if not k.endswith("num_batches_tracked")}
    save_file(state, tmp_path / "w.safetensors")
    models.load_weights(target, tmp_path / "w.safetensors")
    assert equal(source, target)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s.pop("classifier.bias"), "missing: classifier.bias"),
        (lambda s: s.update(extra=torch.zeros(1)), "unexpected: extra"),
        (lambda s: s.update({"classifier.bias": torch.zeros(4)}), r"classifier\.bias \(4,\) for \(3,\)"),
    ],
    ids=["missing", "unexpected", "shape"],
)
def test_differences_are_named_and_nothing_is_loaded(tmp_path, change, says):
    state, target = make().state_dict(), make()
    before = {key: value.clone() for key, value in target.state_dict().items()}
    change(state)
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(DataError, match=says):
        models.load_weights(target, tmp_path / "w.pt")
    assert all(torch.equal(value, before[key]) for key, value in target.state_dict().items())


class Evil:
    def __reduce__(self):
        return (print, ("code of the file ran",))


@pytest.mark.parametrize(
    "content",
    [b"", b"\x80", b"not a checkpoint", pickle.dumps(Evil()), pickle.dumps([1, 2])],
    ids=["empty", "one byte", "text", "code", "no tensors"],
)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_damaged_or_hostile_files_are_refused(tmp_path, capsys, content, suffix):
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(DataError, match="w"):
        models.load_weights(make(), path)
    assert "ran" not in capsys.readouterr().out


def test_a_truncated_torch_file_is_refused(tmp_path):
    path = tmp_path / "w.pt"
    torch.save(make().state_dict(), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"w\.pt"):
        models.load_weights(make(), path)


def test_other_kinds_and_missing_files_are_named(tmp_path):
    with pytest.raises(UsageError, match=r"\.h5"):
        models.load_weights(make(), tmp_path / "w.h5")
    with pytest.raises(DataError, match="none there"):
        models.load_weights(make(), tmp_path / "w.pt")
