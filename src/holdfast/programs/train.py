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
    epochs: int,
    batch_size: int | None,
    lr: float,
    weight_decay: float,
    patience: int | None,
    checkpoint_steps: int | None,
    limit: int | None,
    seed: int,
) -> None:
    """Train ``model`` and write ``out/model.safetensors``, ``out/history.jsonl`` and the validation record.

    A killed run that starts again in the same ``out`` ends with the same model. Without ``batch_size`` it is
    256, or less on small sets, so that an epoch has at least 40 steps.
    """
    import torch

    from holdfast import bench, models, training
    from holdfast.data import open as open_data

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
        objective=objective,
        seed=seed,
        out=out / "training",
    )
    best = models.load(result.best)
    name = name or model
    model_files.save(best, out / "model.safetensors", name)
    labels = {"model": name, "protection": "plain", "split": "val"}
    write_records(out / "records.jsonl", bench.quality(best, val, labels=labels, seed=seed))
