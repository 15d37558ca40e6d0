"""Trackers: each holds every epoch once, whatever a killed run has left, and changes nothing."""

from __future__ import annotations

import csv
import sys
from types import SimpleNamespace

import pytest

from holdfast import training
from holdfast.core import jsonl
from holdfast.core.errors import UnknownNameError, UsageError
from holdfast.training.trackers import CSV, HISTORY, Csv, Trackers, check

LINES = [{"epoch": n, "train_loss": 1 / n, "val_auc": None, "seconds": 0.1 * n} for n in (1, 2, 3)]


def test_lines_that_the_checkpoint_does_not_know_are_cut(tmp_path):
    first = Trackers(tmp_path, [])
    for epoch in (1, 2, 3):
        first.epoch({"epoch": epoch, "val_auc": None})
    first.close()
    with (tmp_path / HISTORY).open("a") as file:
        file.write('{"epoch": 4, "to')
    again = Trackers(tmp_path, [{"epoch": 1, "val_auc": None}])
    again.epoch({"epoch": 2, "val_auc": 0.5})
    again.close()
    lines = list(jsonl.read(tmp_path / HISTORY))
    assert lines == [{"epoch": 1, "val_auc": None}, {"epoch": 2, "val_auc": 0.5}]


def test_csv_has_a_column_a_quantity(tmp_path):
    table = Csv(tmp_path, [], {})
    assert not (tmp_path / CSV).exists()
    for line in LINES:
        table.epoch(line)
    Csv(tmp_path, LINES[:1], {}).epoch(LINES[1])  # a resumed run
    with (tmp_path / CSV).open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert [float(row["train_loss"]) for row in rows] == [1.0, 0.5]
    assert {row["val_auc"] for row in rows} == {""}


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb"])
def test_a_named_tracker_that_is_not_installed_is_an_error_before_anything_is_written(
    name, streams, make_model, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UsageError, match=rf"tracker '{name}'.*pip install holdfast\[trackers\]"):
        training.fit(make_model(), *streams, epochs=1, trackers=("csv", name), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unknown_trackers_are_named():
    with pytest.raises(UnknownNameError, match="did you mean 'wandb'"):
        check(["wandbs"])


def test_trackers_change_nothing(streams, make_model, tmp_path):
    settings = {"epochs": 2, "batch_size": 64}
    with_one = training.fit(make_model(), *streams, **settings, trackers=("csv",), out=tmp_path / "a")
    without = training.fit(make_model(), *streams, **settings, trackers=(), out=tmp_path / "b")
    assert with_one.best.read_bytes() == without.best.read_bytes()
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == [
        "best.safetensors",
        "history.jsonl",
        "last.pt",
    ]
    # Another tracker is no other training: a finished one is not repeated, and the tracker has it whole.
    again = training.fit(make_model(), *streams, **settings, trackers=("csv",), out=tmp_path / "b")
    assert again.history == without.history
    assert len((tmp_path / "b" / CSV).read_text().splitlines()) == 3


class FakeMLflow:
    """The part of MLflow's client that is used, its runs in memory."""

    def __init__(self):
        self.runs = {}

    def __call__(self, tracking_uri):
        self.uri = tracking_uri
        return self

    def get_run(self, run):
        if run not in self.runs:
            raise FakeMLflowError
        return SimpleNamespace(info=SimpleNamespace(run_id=run))

    def update_run(self, run, status):
        self.runs[run]["status"] = status

    def set_terminated(self, run):
        self.runs[run]["status"] = "FINISHED"

    def get_experiment_by_name(self, name):
        return None

    def create_experiment(self, name):
        return "7"

    def create_run(self, experiment, run_name):
        run = f"run{len(self.runs)}"
        self.runs[run] = {"metrics": [], "params": {}}
        return SimpleNamespace(info=SimpleNamespace(run_id=run))

    def log_param(self, run, name, value):
        self.runs[run]["params"][name] = value

    def log_metric(self, run, key, value, step):
        self.runs[run]["metrics"].append((key, step, value))

    def get_metric_history(self, run, key):
        return [SimpleNamespace(step=step) for name, step, _ in self.runs[run]["metrics"] if name == key]


class FakeMLflowError(Exception):
    pass


def test_mlflow_goes_on_in_its_run_and_logs_no_epoch_twice(tmp_path, monkeypatch):
    client = FakeMLflow()
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "mlflow.tracking", SimpleNamespace(MlflowClient=client))
    monkeypatch.setitem(sys.modules, "mlflow.exceptions", SimpleNamespace(MlflowException=FakeMLflowError))
    make = training.services.MLflow
    killed = make(tmp_path, [], {"lr": 0.1})
    killed.epoch(LINES[0])
    killed.epoch(LINES[1])
    assert client.uri == (tmp_path / "mlruns").as_uri()
    resumed = make(tmp_path, LINES[:1], {"lr": 0.1})  # the checkpoint knows of one epoch
    assert client.runs["run0"]["status"] == "RUNNING"
    resumed.epoch(LINES[1])
    resumed.epoch(LINES[2])
    resumed.close()
    assert list(client.runs) == ["run0"]
    run = client.runs["run0"]
    assert run["params"] == {"lr": "0.1"}
    assert run["status"] == "FINISHED"
    assert [(key, step) for key, step, _ in run["metrics"]] == [
        (key, step) for step in (1, 2, 3) for key in ("seconds", "train_loss")
    ]
    client.runs.clear()  # somebody deleted it: a new one has everything
    make(tmp_path, LINES, {}).close()
    assert len(client.runs["run0"]["metrics"]) == 6


@pytest.mark.slow
def test_the_real_services_write_here_and_reach_for_nothing(streams, make_model, tmp_path, monkeypatch):
    import socket

    from mlflow.tracking import MlflowClient

    for name in ("MLFLOW_TRACKING_URI", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    reached = []
    connect = socket.socket.connect

    def local_only(self, address):
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            reached.append(address)
            raise OSError("no network")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local_only)
    settings = {"epochs": 2, "batch_size": 64}
    plain = training.fit(make_model(), *streams, **settings, trackers=(), out=tmp_path / "plain")
    names = ("csv", "mlflow", "wandb")
    for _ in range(2):  # the second time, it is done already
        tracked = training.fit(make_model(), *streams, **settings, trackers=names, out=tmp_path / "out")
    assert reached == []
    assert tracked.best.read_bytes() == plain.best.read_bytes()
    client = MlflowClient(tracking_uri=(tmp_path / "out" / "mlruns").as_uri())
    run = (tmp_path / "out" / "mlflow.id").read_text()
    losses = [(metric.step, metric.value) for metric in client.get_metric_history(run, "val_loss")]
    assert losses == [(line["epoch"], line["val_loss"]) for line in tracked.history]
    assert client.get_run(run).data.params["batch_size"] == "64"
    identity = (tmp_path / "out" / "wandb.id").read_text()
    assert len(list((tmp_path / "out" / "wandb").glob(f"offline-run-*-{identity}/run-{identity}.wandb"))) >= 1
