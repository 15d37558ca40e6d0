"""Program ``pretrain``: a transformer learns to fill in hidden patches, without labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from holdfast.core.result import Record, write_records
from holdfast.programs import model_files
from holdfast.programs.training_files import keep_curves, listed, tell


def run(
    out: Path,
    *,
    data: Path | str,
    model: str,
    name: str | None,
    options: dict[str, Any],
    ratio: float,
    epochs: int,
    batch_size: int | None,
    lr: float,
    weight_decay: float,
    checkpoint_steps: int | None,
    trackers: str | None,
    charts: bool,
    limit: int | None,
    seed: int,
) -> None:
    """Pretrain ``model`` and write ``out/model.safetensors``, its history and curves, and the error record.

    A killed run that starts again in the same ``out`` ends with the same model. Without ``batch_size`` it is
    256, or less on small sets, so that an epoch has at least 40 steps.
    """
    import torch

    from holdfast import models, training
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
    result = training.pretrain_masked(
        network,
        train,
        val,
        epochs=epochs,
        ratio=ratio,
        batch_size=batch_size or max(1, min(256, train.info.n // 40)),
        lr=lr,
        weight_decay=weight_decay,
        checkpoint_steps=checkpoint_steps,
        seed=seed,
        out=out / "training",
        trackers=None if trackers is None else listed(trackers),
        on_estimate=tell,
    )
    name = name or model
    best = models.load(result.best)
    model_files.save(best, out / "model.safetensors", name, data=train.info.for_model_file())
    keep_curves(
        out / "curves",
        out / "training",
        result.history,
        loss="mean absolute error of hidden pixels",
        charts=charts,
    )
    record = Record(
        metric="masked_error",
        value=result.best_value,
        unit="scaled input",
        direction="lower",
        n=val.info.n,
        labels={"model": name, "protection": "plain", "split": "val", "ratio": ratio},
        seed=seed,
        simulated=val.info.simulated,
    )
    write_records(out / "records.jsonl", [record])
