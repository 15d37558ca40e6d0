"""Programs that train: what they leave, what they refuse, and the study over training sizes."""

from __future__ import annotations

import csv
from copy import copy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from holdfast import models
from holdfast.core.errors import UsageError
from holdfast.core.result import Record, read_records
from holdfast.programs import pretrain, train, training_files, training_sizes

TINY = {"patch": 2, "dim": 8, "depth": 1, "heads": 2, "mlp": 8}


@pytest.fixture(autouse=True)
def _small_digits(monkeypatch):
    """Odd digits against even ones, few of them: two classes in no time."""
    import holdfast.data as data

    opened = data.open

    def two_classes(source, *, split="train", seed=0, limit=None, **options):
        stream = opened(source, split=split, seed=seed, limit=min(limit or 120, 120), **options)
        stream._table = copy(stream._table)
        stream._table.labels = stream._table.labels % 2
        stream.info = replace(stream.info, classes=("even", "odd"))
        return stream

    monkeypatch.setattr(data, "open", two_classes)


def call(program, out, **inputs):
    import json
    from pathlib import Path

    import holdfast.components

    path = Path(holdfast.components.__path__[0]) / "program" / program / "component.json"
    declared = json.loads(path.read_text())["inputs"]
    values = {name: item.get("default") for name, item in declared.items()} | {"data": "digits"} | inputs
    modules = {"train": train, "pretrain": pretrain, "training-sizes": training_sizes}
    out.mkdir(exist_ok=True)
    modules[program].run(out, **values)


def test_pretraining_then_fine_tuning_leaves_models_curves_and_records(tmp_path, capsys):
    shared = {"model": "vit", "options": TINY, "epochs": 2, "batch_size": 40}
    call("pretrain", tmp_path / "a", **shared)
    (error,) = read_records(tmp_path / "a" / "records.jsonl")
    assert error.metric == "masked_error"
    assert not (tmp_path / "a" / "curves" / "roc.csv").exists()
    init = tmp_path / "a" / "model.safetensors"
    assert models.read_meta(init)["data"]["classes"] == ["even", "odd"]
    call("train", tmp_path / "b", **shared, init=init, augment="crop,dead_channels", trackers="csv")
    assert "an epoch" in capsys.readouterr().err
    assert models.load(tmp_path / "b" / "model.safetensors").config.name == "vit"
    assert models.read_meta(tmp_path / "b" / "model.safetensors")["data"] == models.read_meta(init)["data"]
    assert {record.metric for record in read_records(tmp_path / "b" / "records.jsonl")} == {"accuracy", "auc"}
    with (tmp_path / "b" / "curves" / "history.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]
    with (tmp_path / "b" / "curves" / "roc.csv").open() as file:
        points = list(csv.DictReader(file))
    assert float(points[-1]["true_positive_rate"]) == 1
    with pytest.raises(UsageError, match="init="):
        call("train", tmp_path / "b", **shared, augment="crop,dead_channels")


def test_a_symmetry_is_broken_only_if_asked_for():
    info = SimpleNamespace(classes=("photon", "electron"))
    with pytest.raises(UsageError, match="opposite"):
        training_files.augmentation("eta_flip,phi_flip", {}, False, info)
    made = training_files.augmentation("eta_flip, phi_flip", {}, True, info)
    assert len(made.steps) == 2
    assert training_files.augmentation(None, {}, True, info) is None


def test_sizes_are_trained_and_averaged(tmp_path, monkeypatch):
    monkeypatch.setattr(training_sizes, "chart", lambda records: "<svg/>")  # drawn by the slow test
    inputs = {
        "models": ["cnn", {"model": "cnn", "name": "narrow", "options": {"width": 0.5}}],
        "sizes": [20, 40],
        "repeats": 2,
        "steps": 2,
        "batch_size": 20,
    }
    call("training-sizes", tmp_path, **inputs)
    records = read_records(tmp_path / "records.jsonl")
    means = [record for record in records if "repeats" in record.labels]
    assert [(r.labels["images"], r.labels["model"], r.labels["epochs"]) for r in means] == [
        (20, "cnn", 2),
        (20, "narrow", 2),
        (40, "cnn", 1),
        (40, "narrow", 1),
    ]
    for mean in means:
        own = {k: v for k, v in mean.labels.items() if k != "repeats"}
        runs = [r for r in records if "training_seed" in r.labels and own.items() <= r.labels.items()]
        assert {run.labels["training_seed"] for run in runs} == {0, 1}
        assert mean.value == pytest.approx(np.mean([run.value for run in runs]))
        assert mean.interval.method == "student-t"


def test_what_cannot_be_studied_is_refused(tmp_path):
    for inputs, says in (
        ({"sizes": [20, 9999]}, "the 120 images there are"),
        ({"sizes": [20], "models": ["cnn", "cnn"]}, "a name of its own"),
        ({"sizes": [20], "models": [{"name": "cnn"}]}, "models"),
    ):
        with pytest.raises(UsageError, match=says):
            call("training-sizes", tmp_path, **inputs)


def test_the_interval_over_repetitions_is_students():
    found = training_sizes.over_repeats(np.array([0.7, 0.8, 0.9]))
    # t(0.975, 2) = 4.303, standard error 0.1/√3.
    assert found.low == pytest.approx(0.8 - 4.30265 * 0.1 / 3**0.5, rel=1e-4)
    assert found.high == 1.0
    common = {"metric": "auc", "unit": "1", "direction": "higher", "labels": {"training_seed": 0}}
    bad = Record(value=None, status="invalid", **common)
    assert training_sizes._mean([Record(value=0.5, **common), bad]).status == "invalid"


@pytest.mark.slow
def test_the_charts_are_drawn(tmp_path):
    call("train", tmp_path / "a", epochs=2, batch_size=40, charts=True)
    assert "ROC-AUC" in (tmp_path / "a" / "curves" / "history.svg").read_text()
    assert "false positive rate" in (tmp_path / "a" / "curves" / "roc.svg").read_text()
    call("training-sizes", tmp_path / "b", sizes=[20, 60], models=["cnn"], repeats=1, steps=4, batch_size=20)
    assert "training images" in (tmp_path / "b" / "sizes.svg").read_text()
