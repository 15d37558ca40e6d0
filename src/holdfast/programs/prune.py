"""Program ``prune``: a robust subnetwork of a random network, and the packed file of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from holdfast.core.errors import UsageError
from holdfast.core.result import Record, write_records
from holdfast.programs.pack import size_records
from holdfast.programs.prune_tuning import tuned_rates
from holdfast.programs.robust_training import adversary, checked, network, verdict


def run(
    out: Path,
    *,
    model: str,
    data: Path | str,
    name: str | None,
    options: dict[str, Any],
    prune_rate: float,
    p: str,
    tilt: float,
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
    at most ``judged`` images of the validation set. With ``p="auto"`` short searches choose ``p`` and
    ``tilt``. A killed run that starts again in the same ``out`` ends with the same network.
    """
    from holdfast import subnet
    from holdfast.data import open as open_data
    from holdfast.subnet.layers import without_norm

    if p == "auto":
        p, tilt = tuned_rates(
            {
                "model": model,
                "data": str(data),
                "options": options,
                "prune_rate": prune_rate,
                "init": init,
                "by": by,
                "last_norm": last_norm,
                "attack": attack,
                "attack_options": attack_options,
                **({} if eps is None else {"eps": eps}),
                **({} if eps_gev is None else {"eps_gev": eps_gev}),
                "batch_size": batch_size,
                "lr": lr,
                "seed": seed,
            },
            limit=limit,
        )
    share = exponent(p)
    train, val = (open_data(data, split=split, seed=seed, limit=limit) for split in ("train", "val"))
    objective, judge = adversary(train.info, attack, attack_options, eps, eps_gev)
    found = subnet.prune(
        network(model, train.info, "batch_no_affine", last_norm, options),
        (train, val),
        out=out / "search",
        prune_rate=prune_rate,
        p=share,
        tilt=tilt,
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
        **checked(training),
    )
    name = name or model
    rates = {"prune_rate": prune_rate, "p": p, "tilt": tilt}
    found.save(out / "subnetwork.safetensors", {"name": name, **rates})
    packed = found.pack(meta={"name": name})
    packed.save(out / "network.packed")
    shown = open_data(data, split="val", seed=seed, limit=min(judged, val.info.n))
    records = verdict(packed.to_module(), shown, judge, out / "judged", seed=seed, labels={"model": name})
    records += size_records(packed, name)
    if unnormed := without_norm(found.model):
        records.append(_without_norm(unnormed, name))
    write_records(out / "records.jsonl", records)


def exponent(p: str) -> Any:
    """``p`` as a number, or ``global``. Raises UsageError."""
    if p == "global":
        return p
    try:
        return float(p)
    except ValueError as error:
        raise UsageError("p", expected="a number >= 0, global, or auto", got=repr(p)) from error


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
