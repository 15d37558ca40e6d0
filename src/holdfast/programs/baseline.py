"""Program ``baseline``: another way to a small robust network, to compare a subnetwork with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from holdfast.core.result import Record, write_records
from holdfast.programs import model_files
from holdfast.programs.robust_training import adversary, checked, network, verdict


def run(
    out: Path,
    *,
    method: str,
    model: str,
    data: Path | str,
    name: str | None,
    options: dict[str, Any],
    match: Path | None,
    weights: Any,
    last_norm: bool,
    prune_rate: float,
    p: str,
    attack: str,
    attack_options: dict[str, Any],
    eps: float | None,
    eps_gev: float | None,
    epochs: int,
    batch_size: int,
    lr: float | None,
    weight_decay: float,
    training: dict[str, Any],
    limit: int | None,
    judged: int,
    seed: int,
) -> None:
    """Train by ``method`` and write ``out/model.safetensors`` and the records.

    With ``match`` the model's width is the largest with which its float32 parameters take no more bytes than
    that file.
    Accuracy, and accuracy under PGD of 20 steps within the radius of the training, are those on at most
    ``judged`` images of the validation set. A killed run that starts again in the same ``out`` goes on.
    """
    from holdfast.data import open as open_data
    from holdfast.programs.prune import exponent
    from holdfast.subnet import baselines

    train, val = (open_data(data, split=split, seed=seed, limit=limit) for split in ("train", "val"))
    objective, judge = adversary(train.info, attack, attack_options, eps, eps_gev)
    if match is not None:
        options = {**options, "width": _width(model, train.info, last_norm, options, match)}
    found = baselines.train(
        method,
        network(model, train.info, None, last_norm, options),
        (train, val),
        out=out / "training",
        weights=weights,
        prune_rate=prune_rate,
        p=exponent(p),
        attack=objective,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        weight_decay=weight_decay,
        seed=seed,
        **checked(training),
    )
    name = name or f"{method}-{model}"
    model_files.save(found, out / "model.safetensors", name, data=train.info.for_model_file())
    shown = open_data(data, split="val", seed=seed, limit=min(judged, val.info.n))
    labels = {"model": name, "method": method, "weights": weights}
    records = verdict(found, shown, judge, out / "judged", seed=seed, labels=labels)
    write_records(out / "records.jsonl", [*records, _kept(found, name)])


def _width(name: str, info: Any, last_norm: bool, options: dict[str, Any], match: Path) -> float:
    from holdfast.subnet import baselines

    return baselines.matched_width(
        name,
        match.stat().st_size // 4,
        in_channels=info.shape[0],
        classes=len(info.classes),
        size=info.shape[1],
        last_norm=last_norm,
        **{key: value for key, value in options.items() if key != "width"},
    )


def _kept(model: Any, name: str) -> Record:
    """The weights that are not zero, of those that convolutions and linear layers have."""
    from holdfast.subnet.layers import prunable

    weights = [layer.weight for layer in prunable(model).values()]
    return Record(
        metric="kept_weights",
        value=sum(int(weight.count_nonzero()) for weight in weights),
        unit="weights",
        direction="lower",
        n=sum(weight.numel() for weight in weights),
        labels={"model": name, "protection": "plain"},
    )
