"""One form of a network after another: its loss of quality, its size and its time against float32."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from holdfast.bench.metrics import Evaluation
from holdfast.core.errors import DataError, UsageError
from holdfast.core.result import Interval
from holdfast.core.stats import auc_difference, mean_difference
from holdfast.core.timing import PairedTiming, time_ms, time_pairs
from holdfast.export import candidates as ways
from holdfast.export.onnx import Array, to_onnx

FLOAT32 = "float32"
_BATCH = 256


@dataclass(frozen=True)
class Measured:
    """One form of the model: its loss of quality, its file and its time; or why it has none.

    ``loss`` and its paired 95 % ``interval`` are of ROC-AUC or accuracy against float32; ``ms`` is the median
    time of a batch, ``ratio`` the median paired ratio to float32 in the same ``runtime`` (which has none).
    """

    name: str
    runtime: str
    path: Path | None = None
    bytes: int | None = None
    loss: float | None = None
    interval: Interval | None = None
    ms: float | None = None
    ratio: float | None = None
    ratio_interval: Interval | None = None
    failure: str | None = None


@dataclass(frozen=True)
class Shown:
    """Test images (n, C, H, W) float32 in a file, so that no process holds them all, and their labels."""

    path: Path
    shape: tuple[int, ...]
    labels: NDArray[np.int64]

    @classmethod
    def keep(cls, path: Path, test: Iterable[tuple[Array, NDArray[np.int64]]]) -> Shown:
        """Write ``test`` to ``path``. Raises UsageError without images."""
        labels, shape = [], None
        with path.open("wb") as file:
            for images, truth in test:
                file.write(np.ascontiguousarray(images, np.float32).tobytes())
                labels.append(truth)
                shape = images.shape[1:]
        if shape is None:
            raise UsageError("quantize", expected="images to test with", got="none")
        return cls(path, shape, np.concatenate(labels))

    def batches(self, size: int = _BATCH) -> Iterator[Array]:
        """All images, ``size`` at a time."""
        images = np.memmap(self.path, np.float32, "r", shape=(len(self.labels), *self.shape))
        for start in range(0, len(images), size):
            yield np.array(images[start : start + size])


@dataclass(frozen=True)
class Judge:
    """Builds and measures candidates: a picklable call from a Candidate to its Measured.

    ``reference`` is float32's evaluation in ONNX Runtime, ``sample`` the batch that is timed in ``pairs``
    pairs, ``runs`` float32 in each runtime that was needed.
    """

    workshop: ways.Workshop
    shown: Shown
    reference: Evaluation
    sample: Array
    pairs: int
    runs: dict[str, ways.Run] = field(default_factory=dict)

    @classmethod
    def prepare(
        cls,
        model: nn.Module,
        folder: Path,
        calibration: Sequence[Array],
        test: Iterable[tuple[Array, NDArray[np.int64]]],
        *,
        batch: int,
        pairs: int,
        meta: dict[str, Any] | None,
    ) -> Judge:
        """Write float32 and test images to ``folder``, and evaluate it. Raises UsageError without images."""
        if not calibration:
            raise UsageError("quantize", expected="images to calibrate with", got="none")
        shown = Shown.keep(folder / "images", test)
        path = folder / f"{FLOAT32}.onnx"
        to_onnx(model, path, meta=meta)
        workshop = ways.Workshop(model.eval(), path, calibration, folder)
        sample = np.resize(next(shown.batches()), (batch, *shown.shape))
        reference = _evaluate(ways.float32("onnxruntime", workshop), shown)
        return cls(workshop, shown, reference, sample, pairs)

    def float32(self) -> Measured:
        """The reference itself."""
        path, run = self.workshop.onnx, ways.float32("onnxruntime", self.workshop)
        ms = float(np.median(time_ms(_call(run, self.sample), self.pairs)))
        return Measured(FLOAT32, "onnxruntime", path, bytes=path.stat().st_size, loss=0.0, ms=ms)

    def __call__(self, candidate: ways.Candidate) -> Measured:
        """What ``candidate`` is worth; whatever it stumbles over is its failure."""
        try:
            unchanged = self._float32(candidate.runtime)
            built = candidate.build(self.workshop)
            found = _evaluate(built.run, self.shown)
            timing = time_pairs(_call(unchanged, self.sample), _call(built.run, self.sample), self.pairs)
            return _measured(candidate, built.path, found, self.reference, timing)
        except Exception as error:
            return failed(candidate, error)

    def _float32(self, runtime: str) -> ways.Run:
        if runtime not in self.runs:
            self.runs[runtime] = ways.float32(runtime, self.workshop)
        return self.runs[runtime]


def failed(candidate: ways.Candidate, error: Exception) -> Measured:
    """A candidate that could not be measured, with the first line of the reason."""
    text = str(error).strip().splitlines()
    reason = f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
    return Measured(candidate.name, candidate.runtime, failure=reason)


def _measured(
    candidate: ways.Candidate, path: Path, found: Evaluation, reference: Evaluation, timing: PairedTiming
) -> Measured:
    if found.has_auc:
        loss, interval = auc_difference(found.labels, reference.scores, found.scores)
    else:
        loss, interval = mean_difference(_correct(reference), _correct(found))
    return Measured(
        name=candidate.name,
        runtime=candidate.runtime,
        path=path,
        bytes=path.stat().st_size,
        loss=loss,
        interval=interval,
        ms=float(np.median(timing.b_ms)),
        ratio=timing.ratio,
        ratio_interval=timing.interval(),
    )


def _evaluate(run: ways.Run, shown: Shown) -> Evaluation:
    logits = np.concatenate([run(images) for images in shown.batches()])
    if not np.isfinite(logits).all():
        raise DataError(
            "quantised model", expected="finite logits", got=f"{np.sum(~np.isfinite(logits))} others"
        )
    return Evaluation(logits, shown.labels)


def _correct(found: Evaluation) -> NDArray[np.float64]:
    return np.asarray(found.logits.argmax(1) == found.labels, dtype=np.float64)


def _call(run: ways.Run, sample: Array) -> Callable[[], Array]:
    return lambda: run(sample)
