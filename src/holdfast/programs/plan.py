"""Program ``plan``: measure which rungs of the ladder pay on this machine, and write it down by layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from holdfast.core.result import Record, write_records
from holdfast.programs.model_files import ModelFile


def run(out: Path, *, model: Path, batch: int, seed: int) -> None:
    """Write ``out/plan.json`` for random images of the model's size, and ``out/records.jsonl``."""
    import torch

    from holdfast import protect

    file = ModelFile.open(model)
    plain = file.plain()
    config: Any = plain.config
    x = torch.rand(
        batch, config.in_channels, config.size, config.size, generator=torch.Generator().manual_seed(seed)
    )
    protected = protect(plain, plan=out / "plan.json")
    with torch.inference_mode():
        protected(x)
    assert protected.plans is not None
    (plan,) = protected.plans.plans
    name = file.name
    records = [
        Record(
            metric="rung_enabled",
            value=float(rung in layer.rungs),
            unit="yes/no",
            direction="higher",
            n=1,
            timed=True,
            seed=seed,
            labels={"model": name, "layer": layer.layer, "rung": rung, "batch": batch},
        )
        for layer in plan.layers
        for rung in ("RC", "ClC")
    ]
    write_records(out / "records.jsonl", records)
