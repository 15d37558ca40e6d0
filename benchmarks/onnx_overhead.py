"""Time of a protected ONNX graph over that of the plain one: ``python -m benchmarks.onnx_overhead``.

Both in ONNX Runtime with all graph optimisations, in one process, A B A B, fault-free; two threads. Equal
decisions and no alarm come before any time. Random weights: the time does not depend on them.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from onnx import ModelProto, load
from rich.console import Console
from rich.table import Table

from benchmarks.protect_overhead import MODELS
from holdfast.abft.onnx import protect_onnx
from holdfast.core.result import Record, write_records
from holdfast.core.timing import time_pairs

RECORDS = Path(__file__).parent / "records" / "onnx_overhead.jsonl"
THREADS = 2


def exported(name: str) -> ModelProto:
    """A model of ``protect_overhead`` as ONNX, opset 18, with a free batch size."""
    torch.manual_seed(0)
    make, shape = MODELS[name]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter announces its successor
        path = Path(folder) / "model.onnx"
        axes = {"x": {0: "n"}, "y": {0: "n"}}
        torch.onnx.export(
            make().eval(),
            (torch.rand(2, *shape),),
            path,
            dynamo=False,
            opset_version=18,
            input_names=["x"],
            output_names=["y"],
            dynamic_axes=axes,
        )
        return load(path)


def session(model: ModelProto) -> onnxruntime.InferenceSession:
    """All optimisations, two threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def measure(name: str, batch: int, pairs: int) -> list[Record]:
    """The paired ratios protected / plain, without and with correction."""
    plain = exported(name)
    x = {"x": np.random.default_rng(0).random((batch, *MODELS[name][1]), np.float32)}
    a = session(plain)
    records = []
    for correct in (False, True):
        protected, reports = protect_onnx(plain, correct=correct)
        b = session(protected)
        y, deviation = b.run(["y", "holdfast_deviation"], x)
        assert np.allclose(y, a.run(["y"], x)[0], atol=1e-3), (
            f"{name}: the protected model answers differently"
        )
        assert deviation.max() <= 1, f"{name}: a false alarm"
        timing = time_pairs(lambda: a.run(None, x), lambda b=b: b.run(None, x), pairs, warmup=5)  # type: ignore[misc]
        labels: dict[str, Any] = {
            "model": name,
            "batch": batch,
            "correct": correct,
            "threads": THREADS,
            "layers": sum(report.protected for report in reports),
            "onnxruntime": onnxruntime.__version__,
            "plain_ms": round(float(np.median(timing.a_ms)), 3),
            "protected_ms": round(float(np.median(timing.b_ms)), 3),
        }
        records.append(
            Record(
                metric="time_ratio",
                value=timing.ratio,
                unit="protected/plain",
                direction="lower",
                n=pairs,
                interval=timing.interval(),
                timed=True,
                seed=0,
                labels=labels,
            )
        )
    return records


def main() -> None:
    """Measure every model and batch, print a table, replace the records."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["resnet20", "resnet18"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--out", type=Path, default=RECORDS)
    arguments, _ = parser.parse_known_args()
    table = Table("model", "batch", "correct", "plain ms", "protected ms", "ratio", "95 % interval")
    records = []
    for name in arguments.models:
        for batch in arguments.batches:
            for record in measure(name, batch, arguments.pairs):
                records.append(record)
                labels, interval = record.labels, record.interval
                assert interval is not None
                table.add_row(
                    name,
                    str(batch),
                    str(labels["correct"]),
                    f"{labels['plain_ms']:.2f}",
                    f"{labels['protected_ms']:.2f}",
                    f"{record.value:.3f}",
                    f"{interval.low:.3f}–{interval.high:.3f}",
                )
    write_records(arguments.out, records)
    Console().print(table)


if __name__ == "__main__":
    main()
