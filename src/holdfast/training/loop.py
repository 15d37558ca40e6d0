"""The training loop: Lightning Fabric for devices and processes, everything else in plain sight."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import nn

from holdfast import models
from holdfast.core.canonical import hash_file
from holdfast.core.errors import UsageError
from holdfast.models import ModelConfig
from holdfast.training import augment as augmentations
from holdfast.training import initial, objectives
from holdfast.training import trackers as tracking
from holdfast.training.augment import Augment
from holdfast.training.estimate import Estimate
from holdfast.training.judging import Classification, Judge
from holdfast.training.randomness import untouched_global_generators
from holdfast.training.run import FitResult, Run, Save
from holdfast.training.settings import Settings, check_count, described


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
    warmup_epochs: float | None = None,
    objective: str | objectives.Objective = "cross_entropy",
    augment: str | Augment | None = None,
    init: Path | None = None,
    judge: Judge | None = None,
    patience: int | None = None,
    checkpoint_steps: int | None = None,
    max_seconds: float | None = None,
    accelerator: str = "auto",
    devices: int | str | list[int] = 1,
    strategy: str = "auto",
    precision: Literal["32-true", "bf16-mixed"] = "32-true",
    save: Save = models.save,
    trackers: Sequence[str] | None = None,
    on_estimate: Callable[[Estimate], None] | None = None,
) -> FitResult:
    """Train ``model`` (from ``models.create``) on the stream ``train``, judged on ``val`` after each epoch.

    ``optimizer`` is adamw or sgd (momentum 0.9), with no decay on norms and biases. The learning rate rises
    linearly over ``warmup_epochs`` (default: a tenth of the training), then falls by a cosine to 0.
    ``objective`` and ``augment`` are names (several augmentations with commas between them), or what
    ``objectives.create``, ``augment.create`` and ``augment.create_all`` make with options. ``init`` is a
    model file whose weights training starts from (see ``initial.start_from``).

    ``out`` receives ``history.jsonl``, ``best.safetensors`` (by validation AUC for two classes, else
    accuracy; ``save`` writes it), and ``last.pt`` after every epoch and every ``checkpoint_steps`` steps.
    ``trackers`` (csv, tensorboard, mlflow, wandb) follow it there and change nothing; by default TensorBoard
    does where that is installed. ``on_estimate`` is told, before the first step, how long training will take.
    ``judge`` is what ends an epoch (default: ``judging.Classification``). Called again after a kill at
    any moment, with a model made in the same way, it ends with the bytes of an undisturbed run on the
    same machine, CPU and number of threads. ``patience`` epochs without improvement end the training,
    ``max_seconds`` ends it within the epoch under way, which is then judged like a whole one. Afterwards
    ``model`` has the last weights. With several processes each takes its share of every batch, and the
    training loss is that of process 0.

    Raises UsageError for wrong values or a checkpoint made under other settings, DataError for an empty
    stream or a damaged checkpoint, HoldfastError if the loss is not finite, StorageError.
    """
    config = getattr(model, "config", None)
    if not isinstance(config, ModelConfig):
        raise UsageError("fit", expected="a model made by models.create", got=type(model).__name__)
    check_count("checkpoint_steps", checkpoint_steps, optional=True)
    if isinstance(objective, str):
        objective = objectives.create(objective, info=train.info)
    if isinstance(augment, str):
        augment = augmentations.create_all(augment.split(","), info=train.info)
    tracking.check(trackers or ())
    # The run shares statistics itself; the fixed weights of masked layers, buffers too, need no sharing.
    how = DDPStrategy(broadcast_buffers=False) if strategy == "ddp" else strategy
    fabric = Fabric(accelerator=accelerator, devices=devices, strategy=how, precision=precision)
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
        warmup_epochs=warmup_epochs,
        init=None if init is None else hash_file(Path(init)),
    )
    if init is not None:
        initial.start_from(model, Path(init))
    joined = torch.distributed.is_initialized()
    fabric.launch()
    run = Run(
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
        judge or Classification(),
        trackers,
        on_estimate,
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
