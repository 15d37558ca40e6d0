"""Program ``ensemble``: several models as one, weights fitted on the validation split."""

from __future__ import annotations

from pathlib import Path

from holdfast.core.result import Label, Record, write_records
from holdfast.programs.calibrate import plain_file, save


def run(
    out: Path,
    *,
    models: list[Path],
    data: Path | str,
    how: str,
    name: str | None,
    limit: int | None,
    seed: int,
) -> None:
    """Join ``models`` and write ``out/model.safetensors``, an ordinary model file, and records.

    Records: accuracy and ROC-AUC on the validation split (which weights and stack were fitted on), and the
    weight of each member. Measure it on the test split beside its members by ``bench``.
    """
    import numpy as np
    import torch

    from holdfast import bench
    from holdfast.data import open as open_data
    from holdfast.models.ensemble import Ensemble

    files = [plain_file(path, "join") for path in models]
    val = open_data(data, split="val", seed=seed, limit=limit)
    members = [file.plain().eval() for file in files]
    joined = Ensemble.of(members, how).eval()
    answers = [bench.evaluate_stream(member, val) for member in members]
    logits = torch.from_numpy(np.stack([each.logits for each in answers], 1))
    truth = torch.from_numpy(answers[0].labels)
    joined.fit(logits, truth)
    name = name or f"ensemble-{how}"
    save(joined, out / "model.safetensors", name, models)
    labels: dict[str, Label] = {"model": name, "protection": "plain", "split": "val", "how": how}
    with torch.no_grad():
        found = bench.Evaluation(joined.combine(logits).numpy(), answers[0].labels)
    records = bench.quality_records(found, labels=labels, seed=seed, simulated=val.info.simulated)
    if joined.weights is not None:
        for file, weight in zip(files, joined.weights.tolist(), strict=True):
            records.append(
                Record(
                    metric="ensemble_weight",
                    value=weight,
                    unit="1",
                    direction="none",
                    n=len(truth),
                    labels={**labels, "member": file.name},
                    seed=seed,
                    simulated=val.info.simulated,
                )
            )
    write_records(out / "records.jsonl", records)
