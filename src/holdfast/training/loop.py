"""The training loop: Lightning Fabric for devices and processes, everything else in plain sight."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import ceil, isfinite
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Generator, Tensor, nn

from holdfast import models
from holdfast.bench.metrics import evaluate
from holdfast.core.errors import DataError, HoldfastError, UsageError
from holdfast.core.progress import progress
from holdfast.core.seeding import derive
from holdfast.core.stats import roc_auc
from holdfast.models import ModelConfig
from holdfast.training import checkpoint, objectives, optimizers
from holdfast.training.checkpoint import TrainingState
from holdfast.training.randomness import seed_step, untouched_global_generators
from holdfast.training.schedule import learning_rate
from holdfast.training.settings import Settings, check_count, described
from holdfast.training.trackers import HISTORY, Trackers

BEST, LAST = "best.safetensors", "last.pt"
_REPORT_STEPS = 20
"""Steps between two looks at the loss; each look waits for the device."""

Augment = Callable[[Tensor, Tensor, Generator], tuple[Tensor, Tensor]]
"""Takes (x, y, a CPU generator for every draw); returns a changed batch of the same size."""

Save = Callable[[nn.Module, Path, dict[str, Any]], None]
"""Writes a model with what is to be said of it."""


@dataclass(frozen=True)
class FitResult:
    """What training left: files, one history line an epoch, and the best validation value.

    ``metric`` is ``val_auc`` for two classes, else ``val_accuracy``; ``best_epoch`` counts from 1;
    ``stopped`` is ``epochs``, ``patience`` or ``max_seconds``.
    """

    best: Path
    last: Path
    history_file: Path
    history: list[dict[str, Any]]
    metric: str
    best_value: float
    best_epoch: int
    stopped: str


def fit(
    model: nn.Module,
    train: Any,
    val: Any,
    *,
    epochs: int,
    out: Path,
    batch_size: int = 256,
    lr: float = 3e-3,
    weight_decay: float = 1e-2,
    optimizer: str = "adamw",
    seed: int = 0,
    objective: str | objectives.Objective = "cross_entropy",
    augment: Augment | None = None,
    patience: int | None = None,
    checkpoint_steps: int | None = None,
    max_seconds: float | None = None,
    accelerator: str = "auto",
    devices: int | str | list[int] = 1,
    strategy: str = "auto",
    precision: Literal["32-true", "bf16-mixed"] = "32-true",
    save: Save = models.save,
) -> FitResult:
    """Train ``model`` (from ``models.create``) on the stream ``train``, judged on ``val`` after each epoch.

    ``optimizer`` is adamw or sgd (momentum 0.9), with no decay on norms and biases, linear warm-up and
    cosine. ``out`` receives ``history.jsonl``, ``best.safetensors`` (by validation AUC for two classes, else
    accuracy; ``save`` writes it), ``last.pt`` after every epoch and every ``checkpoint_steps`` steps, and
    TensorBoard events where that is installed. Called again after a kill at any moment, with a model made in
    the same way, it ends with the bytes of an undisturbed run on the same machine, CPU and number of threads.
    ``patience`` epochs without improvement end the training, ``max_seconds`` ends it within the epoch under
    way, which is then judged like a whole one. Afterwards ``model`` has the last weights. With several
    processes each takes its share of every batch, and the training loss is that of process 0.

    Raises UsageError for wrong values or a checkpoint made under other settings, DataError for an empty
    stream or a damaged checkpoint, HoldfastError if the loss is not finite, StorageError.
    """
    config = getattr(model, "config", None)
    if not isinstance(config, ModelConfig):
        raise UsageError("fit", expected="a model made by models.create", got=type(model).__name__)
    check_count("checkpoint_steps", checkpoint_steps, optional=True)
    if isinstance(objective, str):
        objective = objectives.create(objective, info=train.info)
    fabric = Fabric(accelerator=accelerator, devices=devices, strategy=strategy, precision=precision)
    settings = Settings(
        model=config.to_json(),
        train=str(train.info.fingerprint),
        val=str(val.info.fingerprint),
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        weight_decay=weight_decay,
        optimizer=optimizer,
        seed=seed,
        objective=described(objective),
        augment=described(augment),
        patience=patience,
        precision=precision,
        processes=fabric.world_size,
    )
    joined = torch.distributed.is_initialized()
    fabric.launch()
    run = _Run(
        fabric,
        model,
        train,
        val,
        settings,
        Path(out),
        objective,
        augment,
        checkpoint_steps,
        max_seconds,
        save,
    )
    with untouched_global_generators(fabric.device):
        result = run.fit()
    if torch.distributed.is_initialized() and not joined:
        # Without this, processes abort or hang at their end. DDP's reducer has to go first: it would free the
        # group with the interpreter locked, while a thread of the group waits for that lock.
        del run
        gc.collect()
        fabric.barrier()
        torch.distributed.destroy_process_group()
    return result


class _Run:
    """One call of ``fit``."""

    def __init__(
        self,
        fabric: Fabric,
        model: nn.Module,
        train: Any,
        val: Any,
        settings: Settings,
        out: Path,
        objective: objectives.Objective,
        augment: Augment | None,
        checkpoint_steps: int | None,
        max_seconds: float | None,
        save: Save,
    ) -> None:
        self.fabric, self.train, self.val = fabric, train, val
        self.settings, self.out = settings, out
        self.objective, self.augment = objective, augment
        self.checkpoint_steps, self.max_seconds = checkpoint_steps, max_seconds
        self.save = save
        self.steps_per_epoch = ceil(train.info.n / settings.batch_size)
        # Convolutions of few channels run up to 1.5 times as fast with the channels last.
        self.model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = optimizers.create(settings.optimizer, model, settings.lr, settings.weight_decay)
        self.wrapped, self.optimizer = fabric.setup(self.model, optimizer)
        self.state, self.started, self.note = TrainingState(), perf_counter(), ""

    def fit(self) -> FitResult:
        if self.fabric.is_global_zero:
            checkpoint.clean(self.out, (BEST, LAST, HISTORY))
        found = checkpoint.load(self.out / LAST, asdict(self.settings), self.model, self.optimizer)
        self.fabric.barrier()
        if found is None:
            self._save()
        else:
            self.state = found
            self.started -= found.seconds
        trackers = Trackers(self.out, self.state.history) if self.fabric.is_global_zero else None
        try:
            total = self.settings.epochs * self.steps_per_epoch
            done = self.state.epoch * self.steps_per_epoch + self.state.step
            with progress("train", total, "steps") as advance:
                advance(done)
                while self.state.stopped is None:
                    self._epoch(advance)
                    self._judge(trackers)
        finally:
            if trackers is not None:
                trackers.close()
        self.model.to(memory_format=torch.contiguous_format)
        return self._result()

    def _epoch(self, advance: Callable[..., None]) -> None:
        state, settings, fabric = self.state, self.settings, self.fabric
        self.wrapped.train()
        loss_sum = torch.tensor(state.loss_sum, dtype=torch.float64, device=fabric.device)
        batches = self.train.batches(settings.batch_size, epoch=state.epoch, shuffle=True, skip=state.step)
        for x, y in batches:
            if len(y) >= fabric.world_size:  # else a process would have an empty share
                loss_sum += self._step(x, y) * len(y)
                state.images += len(y)
            state.step += 1
            due = self.checkpoint_steps is not None and state.step % self.checkpoint_steps == 0
            if due or state.step % _REPORT_STEPS == 0:
                state.loss_sum = self._finite(loss_sum)
                self.note = self._status()
            if due:
                self._save()
            advance(1, note=self.note)
            if self._out_of_time():
                state.stopped = "max_seconds"
                break
        if not state.images:
            raise DataError("training data", expected="at least one batch", got="none")
        state.loss_sum = self._finite(loss_sum)

    def _step(self, x: Tensor, y: Tensor) -> Tensor:
        state, fabric, seed = self.state, self.fabric, self.settings.seed
        place = (state.epoch, state.step, fabric.global_rank)
        generator = Generator().manual_seed(derive(seed, "objective", *place))
        seed_step(derive(seed, "step", *place), fabric.device)
        x, y = x[fabric.global_rank :: fabric.world_size], y[fabric.global_rank :: fabric.world_size]
        if self.augment is not None:
            x, y = self.augment(x, y, generator)
        x = x.to(fabric.device, memory_format=torch.channels_last)
        done = state.epoch * self.steps_per_epoch + state.step
        rate = learning_rate(done, self.settings.epochs * self.steps_per_epoch, self.settings.lr)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        loss = self.objective(self.wrapped, x, y.to(fabric.device), generator)
        fabric.backward(loss)
        self.optimizer.step()
        return loss.detach()

    def _judge(self, trackers: Trackers | None) -> None:
        """End the epoch: validate, keep the best, write history and checkpoint."""
        state = self.state
        values = self.fabric.broadcast(self._validate() if self.fabric.is_global_zero else {})
        line = {
            "epoch": state.epoch + 1,
            "train_loss": state.loss_sum / state.images,
            **values,
            "lr": self.optimizer.param_groups[0]["lr"],
            "seconds": perf_counter() - self.started,
        }
        value = line[_metric(line)]
        state.history.append(line)
        improved = state.best is None or value > state.best
        if improved:
            state.best, state.best_epoch, state.stale = value, line["epoch"], 0
        else:
            state.stale += 1
        patience = self.settings.patience
        if state.stopped is None and patience is not None and state.stale >= patience:
            state.stopped = "patience"
        state.epoch, state.step, state.loss_sum, state.images = state.epoch + 1, 0, 0.0, 0
        if state.stopped is None and state.epoch == self.settings.epochs:
            state.stopped = "epochs"
        if trackers is not None:
            if improved:
                meta = {"epoch": line["epoch"], _metric(line): value}
                self.save(self.model, self.out / BEST, meta)
            trackers.epoch(line)
        self._save()

    def _validate(self) -> dict[str, Any]:
        found = evaluate(self.model, self.val.batches(self.settings.batch_size), device=self.fabric.device)
        if not np.isfinite(found.logits).all():
            raise _diverged("validation logits", self.state)
        auc = roc_auc(found.labels, found.scores)[0] if found.has_auc else None
        return {"val_loss": found.loss, "val_accuracy": found.accuracy, "val_auc": auc}

    def _save(self) -> None:
        self.state.seconds = perf_counter() - self.started
        if self.fabric.is_global_zero:
            checkpoint.save(self.out / LAST, asdict(self.settings), self.state, self.model, self.optimizer)

    def _finite(self, loss_sum: Tensor) -> float:
        value = float(loss_sum)
        if not isfinite(value):
            raise _diverged(f"loss {value}", self.state)
        return value

    def _out_of_time(self) -> bool:
        if self.max_seconds is None:
            return False
        # One clock decides for all processes.
        return bool(self.fabric.broadcast(perf_counter() - self.started > self.max_seconds))

    def _status(self) -> str:
        loss = f"loss {self.state.loss_sum / self.state.images:.3f}"
        if not self.state.history:
            return loss
        metric = _metric(self.state.history[-1])
        return f"{loss}, {metric.replace('_', ' ')} {self.state.history[-1][metric]:.3f}"

    def _result(self) -> FitResult:
        state = self.state
        assert state.best is not None
        assert state.best_epoch is not None
        assert state.stopped is not None
        return FitResult(
            best=self.out / BEST,
            last=self.out / LAST,
            history_file=self.out / HISTORY,
            history=state.history,
            metric=_metric(state.history[-1]),
            best_value=state.best,
            best_epoch=state.best_epoch,
            stopped=state.stopped,
        )


def _metric(line: dict[str, Any]) -> str:
    return "val_accuracy" if line["val_auc"] is None else "val_auc"


def _diverged(what: str, state: TrainingState) -> HoldfastError:
    return HoldfastError(
        f"training diverged in epoch {state.epoch + 1} before step {state.step + 1}",
        expected="a finite loss",
        got=what,
        remedy="lower the learning rate or look for NaN in the data, and train in a new folder",
    )
