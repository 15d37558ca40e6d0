"""Program ``quantize``: the quantised form of a model that is worth having."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from holdfast.core.paths import atomic_path, write_json
from holdfast.core.result import Label, Record, write_records
from holdfast.programs.export_cmssw import trained_on
from holdfast.programs.model_files import ModelFile


def run(
    out: Path,
    *,
    model: Path,
    data: Path | str,
    aim: str,
    gate: float,
    candidates: str | None,
    batch: int,
    pairs: int,
    calibration: int,
    limit: int | None,
    limit_s: float | None,
    seed: int,
) -> None:
    """Write the chosen file to ``out/chosen``, all measurements, and ``out/choice.json`` with the reason.

    Calibrated on ``calibration`` training images, judged on the test split (of at most ``limit`` events),
    timed on one thread. A form that takes longer than ``limit_s`` seconds to build and measure has failed.
    For two classes the loss is of ROC-AUC, else of accuracy.
    """
    import torch

    from holdfast.data import open as open_data
    from holdfast.export import quantization

    file = ModelFile.open(model)
    training = open_data(data, split="train", seed=seed, limit=calibration)
    test = open_data(data, split="test", seed=seed, limit=limit)
    work = out / "candidates"
    work.mkdir(parents=True, exist_ok=True)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        measured = quantization.quantize(
            file.plain(),
            work,
            calibration=[x.numpy() for x, _ in training.batches(min(64, calibration), shuffle=True)],
            test=((x.numpy(), y.numpy()) for x, y in test.batches(256)),
            names=candidates.split(",") if candidates else None,
            batch=batch,
            pairs=pairs,
            limit_s=limit_s,
            meta=trained_on(model) or test.info.for_model_file(),
        )
    finally:
        torch.set_num_threads(threads)
    choice = quantization.choose(measured, aim, gate)  # type: ignore[arg-type]
    source = choice.chosen.path
    assert source is not None
    with atomic_path(out / "chosen" / source.name) as temporary:
        shutil.copyfile(source, temporary)
    quality = "auc_loss" if len(test.info.classes) == 2 else "accuracy_loss"
    labels: dict[str, Label] = {"model": file.name, "batch": batch, "threads": 1, "aim": aim}
    common: dict[str, Any] = {"seed": seed, "simulated": test.info.simulated}
    write_records(
        out / "records.jsonl",
        [
            record
            for each in measured
            for record in _records(
                each, quality, {**labels, "form": each.name, "runtime": each.runtime}, common, test.info.n
            )
        ],
    )
    write_json(out / "choice.json", _table(choice, measured, quality))
    shutil.rmtree(work)


def _records(
    each: Any, quality: str, labels: dict[str, Label], common: dict[str, Any], n: int
) -> list[Record]:
    common = {"direction": "lower", "labels": labels, **common}
    if each.failure is not None:
        return [Record(metric=quality, value=None, unit="1", status="failed", message=each.failure, **common)]
    records = [
        Record(metric="file_bytes", value=each.bytes, unit="B", **common),
        Record(metric="latency", value=each.ms, unit="ms", timed=True, **common),
    ]
    if each.ratio is not None:
        common |= {"unit": "1"}
        ratio = {"value": each.ratio, "interval": each.ratio_interval, "timed": True}
        records += [
            Record(metric=quality, value=each.loss, interval=each.interval, n=n, **common),
            Record(metric="latency_ratio", **ratio, **common),
        ]
    return records


def _table(choice: Any, measured: list[Any], quality: str) -> dict[str, Any]:
    """What was measured and decided, for people."""
    rows = []
    for each in measured:
        cells = ["", "", "", ""]
        if each.failure is None:
            cells = ["", str(each.bytes), f"{each.ms:.3f}", ""]
        if each.ratio is not None:
            cells[0] = f"{each.loss:.5f} [{each.interval.low:.5f}, {each.interval.high:.5f}]"
            cells[3] = f"{each.ratio:.2f}"
        rows.append([each.name, each.runtime, *cells, choice.verdicts[each.name]])
    columns = ["form", "runtime", quality.replace("_", " "), "bytes", "ms", "× float32", "verdict"]
    chosen = {"chosen": choice.chosen.name, "file": choice.chosen.path.name, "reason": choice.reason}
    return {**chosen, "columns": columns, "rows": rows}
