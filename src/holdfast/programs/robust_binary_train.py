"""One cell of the tables: train as it says, judge what a user would run, and say so in two records."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import rmtree
from typing import Any

import torch
from torch import nn

from holdfast import data, models, stress, subnet
from holdfast.core.paths import write_text
from holdfast.core.result import Label, Record
from holdfast.programs.robust_binary_cells import PACKED, Training
from holdfast.subnet import Packed, baselines
from holdfast.subnet.layers import prunable
from holdfast.training import objectives

RECORDS = "records.json"
WORK = "training"


def measured(cell: Training, folder: Path) -> list[Record] | None:
    """The records that ``train_and_judge`` has left in ``folder``, if it has ended."""
    file = folder / RECORDS
    return [Record.from_json(each) for each in json.loads(file.read_text())] if file.exists() else None


def train_and_judge(cell: Training, folder: Path, threads: int | None = 1) -> list[Record]:
    """Records ``clean_accuracy`` and ``robust_accuracy`` of ``cell``, on its test images.

    What a search has found is packed first: the packed network is attacked, and the attacks are replayed on
    its compiled form (``replayed_robust_accuracy``). ``folder`` receives the records and the packed network;
    a training that was killed goes on from its checkpoint there. ``threads`` of PyTorch, None: as they are.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    train, val = (data.open(cell.data, split=split, limit=cell.limit) for split in (cell.split, "val"))
    test = data.open(cell.data, split="test", limit=cell.test_limit)
    labels = {**described(cell), "training_images": train.info.n, "test_images": test.info.n}
    replay = None
    if cell.method == "search":
        packed = _packed(cell, (train, val), folder)
        model, replay = packed.to_module(), packed.compile()
        labels |= {"kept": packed.kept, "file_bytes": packed.nbytes}
    else:
        model = _baseline(cell, (train, val), folder)
        labels |= {"kept": sum(int(layer.weight.count_nonzero()) for layer in prunable(model).values())}
    attack = (
        stress.AutoAttack(eps=cell.eps, value_range=(0, 1))
        if cell.judge == "autoattack"
        else stress.PGD(eps=cell.eps, steps=20, restarts=3, value_range=(0, 1))
    )
    found = stress.evaluate_robustness(
        model.to("cuda" if torch.cuda.is_available() else "cpu"),
        test,
        attack,
        out=folder / "images",
        seed=cell.seed,
        replay=replay,
        labels=labels,
    )
    found = [record for record in found if record.metric.endswith("_accuracy")]
    write_text(folder / RECORDS, json.dumps([record.to_json() for record in found], allow_nan=False))
    rmtree(folder / WORK, ignore_errors=True)
    return found


def described(cell: Training) -> dict[str, Label]:
    """What the records of ``cell`` say of it, beside the number of images."""
    names: tuple[str, ...] = (
        "data",
        "model",
        "method",
        "weights",
        "last_norm",
        "trained_with",
        "width",
        "epochs",
        "judge",
    )
    names += () if cell.method == "at" else ("prune_rate", "p")
    names += ("init", "score_scale") if cell.method == "search" else ()
    return {name: getattr(cell, name) for name in (*names, "eps", "precision")}


def _packed(cell: Training, streams: tuple[Any, Any], folder: Path) -> Packed:
    """What the search of ``cell`` finds, from ``folder`` where it has ended before."""
    if not (folder / PACKED).exists():
        found = subnet.prune(
            _made(cell, streams[0].info, "batch_no_affine"),
            streams,
            prune_rate=cell.prune_rate,
            p=float(cell.p),
            init=cell.init,
            score_scale=cell.score_scale,
            lr=cell.lr,
            **_training(cell, streams[0].info, folder),
        )
        found.pack().save(folder / PACKED)
    return subnet.load_packed(folder / PACKED)


def _baseline(cell: Training, streams: tuple[Any, Any], folder: Path) -> nn.Module:
    return baselines.train(
        cell.method,
        _made(cell, streams[0].info, None),
        streams,
        weights=cell.weights,
        last_norm=cell.last_norm,
        prune_rate=cell.prune_rate,
        p=cell.p,
        lr=cell.lr if cell.weights == "float" else cell.binary_lr,
        **_training(cell, streams[0].info, folder),
    )


def _training(cell: Training, info: Any, folder: Path) -> dict[str, Any]:
    """What every training is told."""
    options: dict[str, Any] = {} if cell.trained_with == "cross_entropy" else {"eps": cell.eps}
    if cell.trained_with == "pgd":
        options |= {"steps": cell.steps, "step": cell.step}
    return {
        "out": folder / WORK,
        "attack": objectives.create(cell.trained_with, info=info, **options),
        "epochs": cell.epochs,
        "batch_size": cell.batch_size,
        "seed": cell.seed,
        "precision": cell.precision,
        "augment": "crop_flip" if cell.augment else None,
    }


def _made(cell: Training, info: Any, norm: str | None) -> nn.Module:
    """The network whose configuration counts: its weights do not."""
    options = dict(cell.options)
    if cell.width != 1:
        options["width"] = cell.width * options.get("width", 1.0)
    return models.create(
        cell.model,
        in_channels=info.shape[0],
        classes=len(info.classes),
        size=info.shape[1],
        norm=norm,
        last_norm=cell.last_norm,
        **options,
    )
