"""Program ``train``: a model on a data set, best checkpoint kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from holdfast.core.result import write_records
from holdfast.programs import model_files


def run(
    out: Path,
    *,
    data: Path | str,
    model: str,
    name: str | None,
    options: dict[str, Any],
    objective: str,
    objective_options: dict[str, Any],
    augment: str | None,
    augment_options: dict[str, dict[str, Any]],
    allow_unsafe: bool,
    init: Path | None,
    optimizer: str,
    epochs: int,
    batch_size: int | None,
    lr: float,
    weight_decay: float,
    patience: int | None,
    checkpoint_steps: int | None,
    max_seconds: float | None,
    trackers: str | None,
    charts: bool,
    limit: int | None,
    seed: int,
) -> None:
    """Train ``model`` and write ``out/model.safetensors``, its curves, the history and the validation record.

    How long it will take is said on stderr before it starts. ``augment`` and ``trackers`` are names with
    commas between them; a mirror image or turn that breaks a symmetry of the data is refused unless
    ``allow_unsafe``. ``out/curves`` receives the learning curves and the ROC curve on the validation
    split (CSV, with ``charts`` SVG too), and the folders of the trackers. A killed run that
    starts again in the same ``out`` ends with the same model. Without ``batch_size`` it is 256, or less
    on small sets, so that an epoch has at least 40 steps.
    """
    import torch

    from holdfast import bench, models, training
    from holdfast.data import open as open_data
    from holdfast.programs.training_files import augmentation, keep_curves, listed, tell
    from holdfast.training import objectives

    train, val = (open_data(data, split=split, seed=seed, limit=limit) for split in ("train", "val"))
    torch.manual_seed(seed)
    network = models.create(
        model,
        in_channels=train.info.shape[0],
        classes=len(train.info.classes),
        size=train.info.shape[1],
        **options,
    )
    result = training.fit(
        network,
        train,
        val,
        epochs=epochs,
        batch_size=batch_size or max(1, min(256, train.info.n // 40)),
        lr=lr,
        weight_decay=weight_decay,
        patience=patience,
        checkpoint_steps=checkpoint_steps,
        max_seconds=max_seconds,
        optimizer=optimizer,
        objective=objectives.create(objective, info=train.info, **objective_options),
        augment=augmentation(augment, augment_options, allow_unsafe, train.info),
        init=init,
        seed=seed,
        out=out / "training",
        trackers=None if trackers is None else listed(trackers),
        on_estimate=tell,
    )
    best = models.load(result.best)
    name = name or model
    model_files.save(best, out / "model.safetensors", name, data=train.info.for_model_file())
    labels = {"model": name, "protection": "plain", "split": "val"}
    found = bench.evaluate(best, val.batches(512))
    records = bench.quality_records(found, labels=labels, seed=seed, simulated=val.info.simulated)
    write_records(out / "records.jsonl", records)
    keep_curves(
        out / "curves", out / "training", result.history, found, series=f"{name}, validation", charts=charts
    )
