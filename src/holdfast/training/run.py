"""One training under way: epochs of steps, judged and written down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy as shallow_copy
from copy import deepcopy
from dataclasses import asdict, dataclass
from itertools import islice
from math import ceil, isfinite
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Generator, Tensor, nn

from holdfast.core.errors import DataError, HoldfastError
from holdfast.core.progress import progress
from holdfast.core.seeding import derive
from holdfast.training import checkpoint, optimizers
from holdfast.training.augment import Augment, Geometric
from holdfast.training.checkpoint import TrainingState
from holdfast.training.estimate import Estimate, estimate
from holdfast.training.judging import Judge
from holdfast.training.moment import Moment, Remembering, Timed
from holdfast.training.objectives import Objective
from holdfast.training.randomness import seed_step
from holdfast.training.schedule import learning_rate
from holdfast.training.settings import Settings
from holdfast.training.trackers import HISTORY, Trackers

BEST, LAST = "best.safetensors", "last.pt"
_REPORT_STEPS = 20
"""Steps between two looks at the loss; each look waits for the device."""

Save = Callable[[nn.Module, Path, dict[str, Any]], None]
"""Writes a model with what is to be said of it."""


@dataclass(frozen=True)
class FitResult:
    """What training left: files, one history line an epoch, and the best validation value.

    ``metric`` is what the judge chose by: ``val_auc`` for two classes, else ``val_accuracy``; ``best_epoch``
    counts from 1; ``stopped`` is ``epochs``, ``patience`` or ``max_seconds``.
    """

    best: Path
    last: Path
    history_file: Path
    history: list[dict[str, Any]]
    metric: str
    best_value: float
    best_epoch: int
    stopped: str


class Run:
    """One call of ``fit``: see there for the arguments."""

    def __init__(
        self,
        fabric: Fabric,
        model: nn.Module,
        train: Any,
        val: Any,
        settings: Settings,
        out: Path,
        objective: Objective,
        augment: Augment | None,
        checkpoint_steps: int | None,
        max_seconds: float | None,
        save: Save,
        judge: Judge,
        trackers: Sequence[str] | None,
        on_estimate: Callable[[Estimate], None] | None,
    ) -> None:
        self.fabric, self.train, self.val = fabric, train, val
        self.settings, self.out = settings, out
        self.objective, self.augment = objective, augment
        self.checkpoint_steps, self.max_seconds = checkpoint_steps, max_seconds
        self.save, self.judge = save, judge
        self.trackers, self.on_estimate = trackers, on_estimate
        self.steps_per_epoch = ceil(train.info.n / settings.batch_size)
        # Convolutions of few channels run up to 1.5 times as fast with the channels last.
        self.model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = optimizers.create(settings.optimizer, model, settings.lr, settings.weight_decay)
        self.wrapped, self.optimizer = fabric.setup(self.model, optimizer)
        self.state, self.started, self.note = TrainingState(), perf_counter(), ""

    def fit(self) -> FitResult:
        if self.fabric.is_global_zero:
            checkpoint.clean(self.out, (BEST, LAST, HISTORY))
        if isinstance(self.objective, Remembering):
            self.objective.begin(self.train.info.n)
        parts = self.model, self.optimizer, self.objective
        found = checkpoint.load(self.out / LAST, asdict(self.settings), *parts)
        self.fabric.barrier()
        if found is None:
            self._save()
        else:
            self.state = found
            self.started -= found.seconds
        if self.on_estimate is not None and self.state.stopped is None:
            expected = self._estimate()
            if self.fabric.is_global_zero:
                self.on_estimate(expected)
        trackers = self._trackers() if self.fabric.is_global_zero else None
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

    def _trackers(self) -> Trackers:
        return Trackers(self.out, self.state.history, self.trackers, asdict(self.settings))

    def _estimate(self) -> Estimate:
        """How long what is left will take, by steps of a copy that is thrown away."""
        copy = shallow_copy(self)
        settings, copy.model = self.settings, deepcopy(self.model)
        copy.optimizer = optimizers.create(settings.optimizer, copy.model, settings.lr, settings.weight_decay)
        copy.wrapped, copy.state = copy.model.train(), TrainingState()
        copy._share_statistics = lambda: None  # type: ignore[method-assign]  # it waits for nobody

        def step(x: Tensor, y: Tensor) -> None:
            float(copy._step(x, y))  # waits for the device

        def judge() -> None:
            self.judge(copy.model, islice(self.val.batches(settings.batch_size), 1), self.fabric.device)

        done = self.state.epoch * self.steps_per_epoch + self.state.step
        return estimate(
            self.train.batches(settings.batch_size, epoch=self.state.epoch, shuffle=True),
            step,
            judge,
            steps=settings.epochs * self.steps_per_epoch - done,
            steps_per_epoch=self.steps_per_epoch,
            judged_batches=ceil(self.val.info.n / settings.batch_size),
        )

    def _epoch(self, advance: Callable[..., None]) -> None:
        state, settings, fabric = self.state, self.settings, self.fabric
        self.wrapped.train()
        loss_sum = torch.tensor(state.loss_sum, dtype=torch.float64, device=fabric.device)
        order = {"epoch": state.epoch, "shuffle": True, "skip": state.step}
        if isinstance(self.objective, Remembering):
            order["indexed"] = True
        for batch in self.train.batches(settings.batch_size, **order):
            images = len(batch[1])
            if images >= fabric.world_size:  # else a process would have an empty share
                loss_sum += self._step(*batch) * images
                state.images += images
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

    def _step(self, x: Tensor, y: Tensor, index: Tensor | None = None) -> Tensor:
        state, fabric, seed = self.state, self.fabric, self.settings.seed
        rank, processes = fabric.global_rank, fabric.world_size
        place = (state.epoch, state.step, rank)
        generator = Generator().manual_seed(derive(seed, "objective", *place))
        seed_step(derive(seed, "step", *place), fabric.device)
        x, y, view = x[rank::processes], y[rank::processes], None
        if isinstance(self.augment, Geometric):
            view = self.augment.draw(len(x), generator)
            x = view(x.to(fabric.device))
        elif self.augment is not None:
            x, y = self.augment(x, y, generator)
        x = x.to(fabric.device, memory_format=torch.channels_last)
        done = state.epoch * self.steps_per_epoch + state.step
        self._set_learning_rate(done)
        objective = self.objective
        if isinstance(objective, Timed):
            objective = objective.at(Moment(done, self.steps_per_epoch, index, rank, processes, view))
        self.optimizer.zero_grad()
        with _autocast(fabric.device, self.settings.precision):
            loss = objective(self.wrapped, x, y.to(fabric.device), generator)
        fabric.backward(loss)
        self.optimizer.step()
        if processes > 1:
            self._share_statistics()
        return loss.detach()

    def _share_statistics(self) -> None:
        """Give every process the statistics of process 0, from which a resumed training starts.

        Attacks use them, and pass by DistributedDataParallel, which would share them with the next forward.
        """
        parameters = {name for name, _ in self.model.named_parameters()}
        state = self.model.state_dict()
        own = [v for name, v in state.items() if name not in parameters and v.is_floating_point()]
        if own:
            flat = torch.cat([buffer.reshape(-1) for buffer in own])
            torch.distributed.broadcast(flat, 0)
            for buffer, shared in zip(own, torch.split(flat, [b.numel() for b in own]), strict=True):
                buffer.copy_(shared.view_as(buffer))

    def _set_learning_rate(self, done: int) -> None:
        settings, steps = self.settings, self.steps_per_epoch
        warmup = None if settings.warmup_epochs is None else round(settings.warmup_epochs * steps)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(done, settings.epochs * steps, settings.lr, warmup)

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
        metric = self.judge.metric(line)
        value = line[metric]
        state.history.append(line)
        improved = state.best is None or (value > state.best if self.judge.higher else value < state.best)
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
                meta = {"epoch": line["epoch"], metric: value}
                self.save(self.model, self.out / BEST, meta)
            trackers.epoch(line)
        self._save()

    def _validate(self) -> dict[str, Any]:
        batches = self.val.batches(self.settings.batch_size)
        found = self.judge(self.model, batches, self.fabric.device)
        if found is None:
            raise _diverged("what the model says of the validation data", self.state)
        return found

    def _save(self) -> None:
        self.state.seconds = perf_counter() - self.started
        if self.fabric.is_global_zero:
            parts = self.model, self.optimizer, self.objective
            checkpoint.save(self.out / LAST, asdict(self.settings), self.state, *parts)

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
        metric = self.judge.metric(self.state.history[-1])
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
            metric=self.judge.metric(state.history[-1]),
            best_value=state.best,
            best_epoch=state.best_epoch,
            stopped=state.stopped,
        )


def _autocast(device: torch.device, precision: str) -> torch.autocast:
    """Lower precision for attacks too, which pass by what Fabric wraps around the model.

    Nothing cast is kept: casts made where no gradient is wanted would be used where one is.
    """
    enabled = precision == "bf16-mixed"
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled, cache_enabled=False)


def _diverged(what: str, state: TrainingState) -> HoldfastError:
    return HoldfastError(
        f"training diverged in epoch {state.epoch + 1} before step {state.step + 1}",
        expected="a finite loss",
        got=what,
        remedy="lower the learning rate or look for NaN in the data, and train in a new folder",
    )
