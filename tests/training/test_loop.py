import random
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from holdfast import models, training
from holdfast.core import jsonl
from holdfast.core.errors import DataError, HoldfastError, StorageError, UsageError
from holdfast.training import VOLATILE

FAST = {"epochs": 3, "batch_size": 32, "lr": 1e-2}


def stable(history):
    return [{key: value for key, value in line.items() if key not in VOLATILE} for line in history]


def test_it_learns_and_leaves_what_it_promises(streams, make_model, tmp_path):
    model = make_model()
    result = training.fit(model, *streams, **{**FAST, "epochs": 6}, out=tmp_path)
    assert result.best_value > 0.9
    assert result.metric == "val_auc"
    assert result.stopped == "epochs"
    assert [line["epoch"] for line in result.history] == [1, 2, 3, 4, 5, 6]
    assert list(jsonl.read(result.history_file)) == result.history
    assert result.best_value == max(line["val_auc"] for line in result.history)
    assert models.read_meta(result.best) == {"epoch": result.best_epoch, "val_auc": result.best_value}
    assert result.history[-1]["train_loss"] < result.history[0]["train_loss"]
    best, x = models.load(result.best), streams[1].x
    assert best(x).shape == (60, 2)
    assert model.eval()(x).is_contiguous()


def test_more_classes_are_judged_by_accuracy(blobs, make_model, tmp_path):
    result = training.fit(make_model(classes=3), blobs(classes=3), blobs(30, classes=3), **FAST, out=tmp_path)
    assert result.metric == "val_accuracy"
    assert all(line["val_auc"] is None for line in result.history)


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(streams, make_model, tmp_path):
    def run(name, seed):
        return training.fit(make_model(), *streams, **FAST, seed=seed, out=tmp_path / name)

    one, two, other = run("one", 0), run("two", 0), run("other", 1)
    assert one.best.read_bytes() == two.best.read_bytes()
    assert stable(one.history) == stable(two.history)
    assert stable(one.history) != stable(other.history)


def test_global_generators_are_left_alone(streams, make_model, tmp_path):
    model = make_model()
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    training.fit(model, *streams, **FAST, out=tmp_path)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])
    assert before[2] == random.getstate()


def test_a_finished_training_is_not_repeated(streams, make_model, tmp_path):
    first = training.fit(make_model(), *streams, **FAST, out=tmp_path)
    written = first.last.stat().st_mtime_ns, first.best.stat().st_mtime_ns
    model = make_model(seed=9)
    again = training.fit(model, *streams, **FAST, out=tmp_path)
    assert again == first
    assert (first.last.stat().st_mtime_ns, first.best.stat().st_mtime_ns) == written


def test_patience_ends_training(streams, make_model, tmp_path):
    result = training.fit(make_model(), *streams, epochs=30, batch_size=64, lr=1e-9, patience=2, out=tmp_path)
    assert result.stopped == "patience"
    assert len(result.history) == result.best_epoch + 2


def test_max_seconds_ends_within_the_epoch_and_still_judges(streams, make_model, tmp_path):
    result = training.fit(
        make_model(), *streams, epochs=1000, batch_size=1, lr=1e-3, max_seconds=0, out=tmp_path
    )
    assert result.stopped == "max_seconds"
    assert len(result.history) == 1
    assert result.best.is_file()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"lr": 0.02}, r"lr=0\.01, got lr=0\.02"),
        ({"epochs": 4}, "epochs=3, got epochs=4"),
        ({"batch_size": 16, "seed": 5}, "batch_size=32, seed=0, got batch_size=16, seed=5"),
        ({"objective": "noise"}, "objective=CrossEntropy"),
    ],
    ids=["lr", "epochs", "two", "objective"],
)
def test_other_settings_do_not_resume(streams, make_model, tmp_path, change, says):
    training.fit(make_model(), *streams, **FAST, out=tmp_path)
    before = (tmp_path / "last.pt").read_bytes()
    with pytest.raises(UsageError, match=says):
        training.fit(make_model(), *streams, **{**FAST, **change}, out=tmp_path)
    assert (tmp_path / "last.pt").read_bytes() == before


def test_other_data_or_models_do_not_resume(streams, make_model, tmp_path):
    training.fit(make_model(), *streams, **FAST, out=tmp_path)
    with pytest.raises(UsageError, match="dropout"):
        training.fit(make_model(dropout=0.5), *streams, **FAST, out=tmp_path)
    streams[0].info = replace(streams[0].info, fingerprint="blobs-2")
    with pytest.raises(UsageError, match="train=blobs-1, got train=blobs-2"):
        training.fit(make_model(), *streams, **FAST, out=tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"epochs": 0}, "epochs"),
        ({"batch_size": 0}, "batch_size"),
        ({"lr": float("nan")}, "lr"),
        ({"weight_decay": -1}, "weight_decay"),
        ({"patience": 0}, "patience"),
        ({"checkpoint_steps": 0}, "checkpoint_steps"),
        ({"precision": "16-true"}, "bf16-mixed"),
        ({"objective": "cross-entropy"}, "did you mean 'cross_entropy'"),
    ],
    ids=lambda value: str(value),
)
def test_wrong_values_are_named_before_anything_is_written(streams, make_model, tmp_path, change, says):
    with pytest.raises(UsageError, match=says):
        training.fit(make_model(), *streams, **{**FAST, **change}, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_foreign_models_are_refused(streams, tmp_path):
    with pytest.raises(UsageError, match=r"models\.create"):
        training.fit(torch.nn.Linear(1, 2), *streams, **FAST, out=tmp_path)


def test_nan_in_the_data_stops_training_and_keeps_the_last_good_state(streams, make_model, tmp_path):
    streams[0].x[streams[0].y == 1] = float("nan")
    with pytest.raises(HoldfastError, match=r"diverged in epoch 1.*lower the learning rate"):
        training.fit(make_model(), *streams, **FAST, checkpoint_steps=1, out=tmp_path)
    state = torch.load(tmp_path / "last.pt", weights_only=True)["model"]
    assert all(torch.isfinite(value).all() for value in state.values())
    assert not (tmp_path / "best.safetensors").exists()


def test_an_empty_stream_is_refused(blobs, make_model, tmp_path):
    with pytest.raises(DataError, match="at least one batch"):
        training.fit(make_model(), blobs(0), blobs(10), **FAST, out=tmp_path)


def test_a_full_disk_is_named_and_the_run_resumes_from_before(streams, make_model, tmp_path, monkeypatch):
    whole = training.fit(make_model(), *streams, **FAST, out=tmp_path / "whole")
    saves, save = [], torch.save

    def full(content, path):
        saves.append(path)
        if len(saves) == 3:
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        save(content, path)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(StorageError, match=r"last\.pt.*No space left"):
        training.fit(make_model(), *streams, **FAST, out=tmp_path / "out")
    result = training.fit(make_model(seed=5), *streams, **FAST, out=tmp_path / "out")
    assert result.best.read_bytes() == whole.best.read_bytes()


def test_interrupts_resume_at_every_step(streams, make_model, tmp_path):
    whole = training.fit(make_model(), *streams, epochs=2, batch_size=64, out=tmp_path / "whole")

    class Interrupting:
        def __init__(self, stream, after):
            self.info, self.stream, self.after = stream.info, stream, after

        def batches(self, *arguments, **options):
            for index, batch in enumerate(self.stream.batches(*arguments, **options)):
                if index == self.after:
                    raise KeyboardInterrupt
                yield batch

    settings = {"epochs": 2, "batch_size": 64, "checkpoint_steps": 1, "out": tmp_path / "out"}
    for after in (0, 1, 1, 1, 0):
        with pytest.raises(KeyboardInterrupt):
            training.fit(make_model(), Interrupting(streams[0], after), streams[1], **settings)
    result = training.fit(make_model(seed=5), *streams, **settings)
    assert result.best.read_bytes() == whole.best.read_bytes()
    assert stable(result.history) == stable(whole.history)


def test_augment_changes_the_batch_from_its_generator(streams, make_model, tmp_path):
    seen = []

    def flip(x, y, generator):
        seen.append(torch.rand(1, generator=generator).item())
        return x.flip(-1), y

    training.fit(make_model(), *streams, epochs=1, batch_size=100, augment=flip, out=tmp_path)
    assert len(seen) == 2
    assert seen[0] != seen[1]


def test_augmentations_and_warm_up_by_name_and_number(streams, make_model, tmp_path):
    options = {"epochs": 2, "batch_size": 100, "augment": "crop_flip"}
    result = training.fit(make_model(), *streams, **options, warmup_epochs=0.0, lr=0.01, out=tmp_path / "a")
    assert result.history[0]["lr"] == pytest.approx(0.01 * 0.5 * (1 + np.cos(np.pi / 4)))
    options["augment"] = None
    with pytest.raises(UsageError, match=r"CropFlip\(pad=4.*, got augment=none"):
        training.fit(make_model(), *streams, **options, warmup_epochs=0.0, lr=0.01, out=tmp_path / "a")
    with pytest.raises(UsageError, match="warmup_epochs"):
        training.fit(make_model(), *streams, **options, warmup_epochs=-1.0, out=tmp_path / "b")


def test_bf16_mixed_trains(streams, make_model, tmp_path):
    result = training.fit(make_model(), *streams, **FAST, precision="bf16-mixed", out=tmp_path)
    assert models.load(result.best).classifier.weight.dtype == torch.float32


def test_tensorboard_is_written_where_installed_and_not_missed_elsewhere(
    streams, make_model, tmp_path, monkeypatch
):
    pytest.importorskip("tensorboard")
    training.fit(make_model(), *streams, **FAST, out=tmp_path / "with")
    assert list((tmp_path / "with" / "tensorboard").glob("events*"))
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = training.fit(make_model(), *streams, **FAST, out=tmp_path / "without")
    assert result.history_file.is_file()
    assert not (tmp_path / "without" / "tensorboard").exists()
