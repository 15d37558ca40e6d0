"""Trackers of other makers, kept on this machine: MLflow and Weights & Biases.

Both write into the folder of the run and reach for no network, unless the user's own environment says where
else to (``MLFLOW_TRACKING_URI``; ``WANDB_MODE``). Registered with ``trackers.registry``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from holdfast.core.paths import storage_errors, write_text
from holdfast.training.trackers import Line, absent, numbers, registry


@registry.register("mlflow")
class MLflow:
    """One MLflow run: settings as parameters, a step an epoch, in the file store ``mlruns/`` of the folder.

    A resumed training goes on in the same run, of which ``mlflow.id`` keeps the id, and logs no epoch twice.
    """

    module = "mlflow"

    def __init__(self, folder: Path, history: Sequence[Line], settings: Mapping[str, Any]) -> None:
        with _environment(MLFLOW_ALLOW_FILE_STORE="true", MLFLOW_DISABLE_TELEMETRY="true"):
            try:
                from mlflow.exceptions import MlflowException
                from mlflow.tracking import MlflowClient
            except ImportError as error:
                raise absent("mlflow") from error
            store = os.environ.get("MLFLOW_TRACKING_URI") or (folder / "mlruns").resolve().as_uri()
            self._client = MlflowClient(tracking_uri=store)
            kept = folder / "mlflow.id"
            try:
                self._run = self._client.get_run(kept.read_text(encoding="utf-8")).info.run_id
                self._client.update_run(self._run, status="RUNNING")
            except (OSError, MlflowException):  # no run yet, or one that somebody has deleted
                self._run = self._create(folder)
                write_text(kept, self._run)
                for name, value in settings.items():
                    self._client.log_param(self._run, name, str(value)[:500])
            done = self._client.get_metric_history(self._run, "train_loss")
        self._done = {metric.step for metric in done}
        for line in history:
            self.epoch(line)

    def _create(self, folder: Path) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "holdfast")
        found = self._client.get_experiment_by_name(name)
        experiment = self._client.create_experiment(name) if found is None else found.experiment_id
        run: str = self._client.create_run(experiment, run_name=folder.resolve().parent.name).info.run_id
        return run

    def epoch(self, line: Line) -> None:
        """Log the line, unless a killed run has."""
        if line["epoch"] not in self._done:
            # The loss comes last: it says that the epoch is complete.
            for key, value in sorted(numbers(line).items(), key=lambda item: item[0] == "train_loss"):
                self._client.log_metric(self._run, key, value, step=line["epoch"])
            self._done.add(line["epoch"])

    def close(self) -> None:
        """Mark the run as finished; a resumed one is marked as running again."""
        self._client.set_terminated(self._run)


@registry.register("wandb")
class WandB:
    """One Weights & Biases run, offline in ``wandb/`` of the folder unless ``WANDB_MODE`` says otherwise.

    Every start of a training writes all its epochs, under the id that ``wandb.id`` keeps: the newest offline
    folder alone is complete, and ``wandb sync`` of it makes one run.
    """

    module = "wandb"

    def __init__(self, folder: Path, history: Sequence[Line], settings: Mapping[str, Any]) -> None:
        mode = os.environ.get("WANDB_MODE", "offline")
        quiet = {"WANDB_ERROR_REPORTING": "false"} if mode == "offline" else {}
        with _environment(**quiet):
            try:
                import wandb
            except ImportError as error:
                raise absent("wandb") from error
            with storage_errors(folder):
                folder.mkdir(parents=True, exist_ok=True)
            self._run = wandb.init(
                mode=mode,  # type: ignore[arg-type]
                dir=str(folder),
                project=os.environ.get("WANDB_PROJECT", "holdfast"),
                id=_identity(folder / "wandb.id"),
                resume="allow" if mode != "offline" else None,
                reinit="create_new",
                config=dict(settings),
                settings=wandb.Settings(
                    console="off",
                    silent=True,
                    x_disable_stats=True,
                    x_disable_meta=True,
                    disable_git=True,
                    disable_code=True,
                ),
            )
        for line in history:
            self.epoch(line)

    def epoch(self, line: Line) -> None:
        """Log the line."""
        self._run.log(numbers(line), step=line["epoch"])

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


def _identity(path: Path) -> str:
    """The id in ``path``, which is made if need be; drawn from the system, not from a seeded generator."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        made = uuid4().hex[:12]
        write_text(path, made)
        return made


@contextmanager
def _environment(**given: str) -> Iterator[None]:
    """Environment variables that the user has not set, during the block."""
    own = {name: value for name, value in given.items() if name not in os.environ}
    os.environ.update(own)
    try:
        yield
    finally:
        for name in own:
            os.environ.pop(name, None)
