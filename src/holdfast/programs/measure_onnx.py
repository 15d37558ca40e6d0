"""Program ``measure-onnx``: quality, latency, energy and resilience of an ONNX file under session options."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.core.energy import Meter
from holdfast.core.errors import StepError
from holdfast.core.paths import write_json
from holdfast.core.result import Label, Record, write_records
from holdfast.core.stats import median_interval, wilson
from holdfast.core.timing import time_ms

DEPLOYED = Path(__file__).parent / "templates" / "run_onnx.py"
Array = NDArray[np.float32]
ENERGY_S = 1.0
"""How long calls are repeated while the counters of energy are read."""


def run(
    out: Path,
    *,
    model: Path,
    data: Path | str | None,
    batch: int,
    repeats: int,
    threads: int,
    parallel: bool,
    optimization: str,
    faults: int,
    tolerance: float,
    limit: int | None,
    seed: int,
) -> None:
    """Measure ``model`` on images of ``data``, or random ones; leave records, options and ``run.py``.

    Records: ``latency`` (ms a batch, median and its interval), ``latency_per_image``, ``logit_difference`` to
    a session without optimisation, relative to the largest logit, above ``tolerance`` a wrong result;
    ``energy_per_image`` (J) where counters can be read. With ``data`` also accuracy and, of two classes, AUC;
    with ``faults`` the ``silent_sdc_rate``: the share of that many single bit flips, each in one of all the
    numbers that the file stores, that change a class of the batch and raise no alarm. Raises StepError for a
    wrong result.
    """
    options: dict[str, Any] = {
        "intra_op_num_threads": threads,
        "inter_op_num_threads": threads if parallel else 1,
        "execution_mode": "ORT_PARALLEL" if parallel else "ORT_SEQUENTIAL",
        "graph_optimization_level": optimization,
    }
    raw = model.read_bytes()
    call = Session(raw, options)
    evaluated, images = _quality(data, call, batch, limit, seed)
    if images is None:
        images = np.random.default_rng(seed).random((batch, *call.shape), dtype=np.float32)
    reference = Session(raw, {**options, "graph_optimization_level": "ORT_DISABLE_ALL"})
    found, expected = call(images)[0], reference(images)[0]
    difference = float(np.abs(found - expected).max() / max(1.0, float(np.abs(expected).max())))
    if not difference <= tolerance:
        raise StepError("wrong result", expected=f"logits within {tolerance:g}", got=f"{difference:g}")
    labels: dict[str, Label] = {"batch": batch, "threads": threads}
    times = time_ms(lambda: call(images), repeats)
    records = [
        *evaluated,
        _timed("latency", times, labels),
        _timed("latency_per_image", times / batch, labels),
        Record(metric="logit_difference", value=difference, unit="1", direction="lower", labels=labels),
    ]
    records += _energy(lambda: call(images), batch, labels)
    if faults:
        records.append(_resilience(raw, options, images, faults, seed))
    write_json(out / "session.json", options)
    shutil.copyfile(DEPLOYED, out / "run.py")
    write_records(out / "records.jsonl", records)


class Session:
    """A session from bytes; calling it gives logits and whether an alarm was raised."""

    def __init__(self, raw: bytes, options: dict[str, Any]) -> None:
        import onnxruntime

        own = onnxruntime.SessionOptions()
        own.log_severity_level = 3
        for name, value in options.items():
            kinds = {
                "execution_mode": onnxruntime.ExecutionMode,
                "graph_optimization_level": onnxruntime.GraphOptimizationLevel,
            }
            setattr(own, name, getattr(kinds[name], value) if name in kinds else value)
        self._session = onnxruntime.InferenceSession(raw, own, providers=["CPUExecutionProvider"])
        (given,) = self._session.get_inputs()
        self._input = given.name
        self.shape = tuple(size if isinstance(size, int) else 1 for size in given.shape[1:])
        self._outputs = [item.name for item in self._session.get_outputs()]

    def __call__(self, images: Array) -> tuple[Array, bool]:
        found = self._session.run(self._outputs, {self._input: images})
        named = dict(zip(self._outputs, found, strict=True))
        alarm = "holdfast_deviation" in named and bool((~(named["holdfast_deviation"] <= 1)).any())
        return found[0], alarm


def _quality(
    data: Path | str | None, call: Session, batch: int, limit: int | None, seed: int
) -> tuple[list[Record], Array | None]:
    if data is None:
        return [], None
    from holdfast import bench
    from holdfast.data import open as open_data

    stream = open_data(data, split="test", seed=seed, limit=limit)
    logits, truth, first = [], [], None
    for x, y in stream.batches(256):
        images = x.numpy()
        first = images[:batch] if first is None else first
        logits.append(call(images)[0])
        truth.append(y.numpy())
    found = bench.Evaluation(np.concatenate(logits), np.concatenate(truth))
    records = bench.quality_records(
        found, labels={"split": "test"}, seed=seed, simulated=stream.info.simulated
    )
    return records, first if first is not None and len(first) == batch else None


def _timed(metric: str, times: NDArray[np.float64], labels: dict[str, Label]) -> Record:
    return Record(
        metric=metric,
        value=float(np.median(times)),
        unit="ms",
        direction="lower",
        n=len(times),
        interval=median_interval(times) if len(times) > 1 else None,
        timed=True,
        labels=labels,
    )


def _energy(call: Callable[[], object], batch: int, labels: dict[str, Label]) -> list[Record]:
    meter, start, count = Meter(), perf_counter(), 0
    if not meter.sources:
        return []
    while perf_counter() - start < ENERGY_S:
        call()
        count += batch
    joules = meter.joules()
    return [
        Record(
            metric="energy_per_image",
            value=sum(joules.values()) / count,
            unit="J",
            direction="lower",
            n=count,
            timed=True,
            labels={**labels, "sources": ", ".join(joules)},
        )
    ]


def _resilience(raw: bytes, options: dict[str, Any], images: Array, faults: int, seed: int) -> Record:
    import onnx
    from onnx import numpy_helper

    model = onnx.load_from_string(raw)
    stored = [item for item in model.graph.initializer if np.prod(item.dims) > 0]
    values = [np.ascontiguousarray(numpy_helper.to_array(item)) for item in stored]
    sizes = np.array([value.nbytes for value in values])
    rng = np.random.default_rng(seed)
    classes = Session(raw, options)(images)[0].argmax(1)
    silent = 0
    for _ in range(faults):
        place = int(rng.choice(len(values), p=sizes / sizes.sum()))
        struck = values[place].copy()
        struck.reshape(-1).view(np.uint8)[rng.integers(sizes[place])] ^= np.uint8(1 << int(rng.integers(8)))
        stored[place].CopyFrom(numpy_helper.from_array(struck, stored[place].name))
        try:
            logits, alarm = Session(model.SerializeToString(), options)(images)
            changed = bool((logits.argmax(1) != classes).any() or not np.isfinite(logits).all())
            silent += changed and not alarm
        except Exception:  # a session that refuses the damaged file has raised its alarm
            pass
        stored[place].CopyFrom(numpy_helper.from_array(values[place], stored[place].name))
    return Record(
        metric="silent_sdc_rate",
        value=silent / faults,
        unit="1",
        direction="lower",
        n=faults,
        interval=wilson(silent, faults),
        seed=seed,
        labels={"stressor": "bit_flip", "site": "stored"},
    )
