"""Program ``prune``: a robust subnetwork of a random network, and the packed file of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from holdfast.core.errors import UsageError
from holdfast.core.result import Record, write_records
from holdfast.programs.pack import size_records

_JUDGE_STEPS = 20


def run(
    out: Path,
    *,
    model: str,
    data: Path | str,
    name: str | None,
    options: dict[str, Any],
    prune_rate: float,
    p: str,
    init: Any,
    score_init: Any,
    score_scale: float,
    by: Any,
    last_norm: bool,
    attack: str,
    attack_options: dict[str, Any],
    eps: float | None,
    eps_gev: float | None,
    epochs: int,
    batch_size: int,
    lr: float,
    weight_decay: float,
    training: dict[str, Any],
    limit: int | None,
    judged: int,
    seed: int,
) -> None:
    """Search, and write ``out/subnetwork.safetensors``, ``out/network.packed`` and the records.

    The packed network is what is judged: accuracy and accuracy under PGD of 20 steps, of the same radius, on
    at most ``judged`` images of the validation set. A killed run that starts again in the same ``out`` ends
    with the same network.
    """
    from holdfast import models, stress, subnet
    from holdfast.data import open as open_data
    from holdfast.subnet.layers import without_norm
    from holdfast.training import objectives

    train, val = (open_data(data, split=split, seed=seed, limit=limit) for split in ("train", "val"))
    radius = {key: value for key, value in (("eps", eps), ("eps_gev", eps_gev)) if value is not None}
    judge = stress.create("pgd", info=train.info, steps=_JUDGE_STEPS, **radius)
    plain = attack == "cross_entropy"
    objective = objectives.create(attack, info=train.info, **({} if plain else radius), **attack_options)
    network = models.create(
        model,
        in_channels=train.info.shape[0],
        classes=len(train.info.classes),
        size=train.info.shape[1],
        norm=options.pop("norm", "batch_no_affine"),
        last_norm=last_norm,
        **options,
    )
    found = subnet.prune(
        network,
        (train, val),
        out=out / "search",
        prune_rate=prune_rate,
        p=_exponent(p),
        init=init,
        score_init=score_init,
        score_scale=score_scale,
        by=by,
        attack=objective,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        weight_decay=weight_decay,
        seed=seed,
        **training,
    )
    name = name or model
    found.save(out / "subnetwork.safetensors", {"name": name})
    packed = found.pack(meta={"name": name})
    packed.save(out / "network.packed")
    labels = {"model": name, "protection": "plain", "split": "val"}
    shown = open_data(data, split="val", seed=seed, limit=min(judged, val.info.n))
    records = stress.evaluate_robustness(
        packed.to_module(), shown, judge, out=out / "judged", seed=seed, labels=labels
    )
    records += size_records(packed, name)
    if unnormed := without_norm(found.model):
        records.append(_without_norm(unnormed, name))
    write_records(out / "records.jsonl", records)


def _exponent(p: str) -> float:
    try:
        return float(p)
    except ValueError as error:
        raise UsageError("p", expected="a number >= 0", got=repr(p)) from error


def _without_norm(layers: list[str], name: str) -> Record:
    """The warning of the search, where a program's user sees it."""
    return Record(
        metric="layers_without_norm",
        value=len(layers),
        unit="layers",
        direction="none",
        labels={"model": name, "layers": ", ".join(layers)},
        message="their outputs have the scale of random weights",
    )
