"""Program ``score-distribution``: what a model says of events from several sources, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.core.errors import DataError, UsageError
from holdfast.core.paths import write_text
from holdfast.core.progress import progress
from holdfast.core.result import Interval, Label, Record, write_records
from holdfast.core.stats import roc_auc
from holdfast.programs.explore import comma_separated
from holdfast.programs.model_files import ModelFile
from holdfast.programs.model_input import input_pipeline

Scores = NDArray[np.float64]


@dataclass
class Source:
    """Scores (n,) of one source and its labels (n,), −1 where there are none; ``bad`` were not finite."""

    name: str
    scores: Scores
    labels: NDArray[np.int64]
    simulated: bool
    bad: int = 0
    steps: list[str] = field(default_factory=list)

    def of(self, label: int | None) -> Scores:
        """Scores of one class, of all events for None."""
        return self.scores if label is None else self.scores[self.labels == label]


@dataclass(frozen=True)
class TwoSample:
    """Scores of one class from two sources: AUC of telling them apart, and Kolmogorov-Smirnov."""

    name: str
    against: str
    label: int | None
    n: int
    m: int
    auc: float
    interval: Interval
    ks: float
    p: float

    @property
    def differ(self) -> bool:
        """Whether the interval of the AUC leaves out 0.5."""
        return not self.interval.low <= 0.5 <= self.interval.high

    @property
    def shape_differs(self) -> bool:
        """Whether Kolmogorov-Smirnov rejects one distribution at 1 %."""
        return self.p < 0.01


def run(
    out: Path,
    *,
    model: Path,
    sources: list[Path],
    channels: str | None,
    units: str | None,
    limit: int | None,
    batch_size: int,
) -> None:
    """Score the events of each source with ``model``; write ``out/scores.html``, ``scores.npz`` and records.

    A source is a file or a folder of files; of a converted folder its test split counts. The first source is
    the reference that the others are compared with, class by class. ``channels`` and ``units`` say what files
    do not; ``limit`` takes the first so many events of each file. The score is the log odds of class 1.
    Raises UsageError, DataError.
    """
    from holdfast.programs import score_page

    if len(sources) < 2:
        raise UsageError("sources", expected="two or more", got=len(sources))
    file = ModelFile.open(model)
    told = {"channels": comma_separated(channels), "units": comma_separated(units)}
    names, network = _names(sources), file.load()
    with progress("score", None, "events") as advance:
        found = [
            _scored(file, network, name, path, told, limit, batch_size, advance)
            for name, path in zip(names, sources, strict=True)
        ]
    tests = list(comparisons(found))
    classes = (file.data or {}).get("classes") or ["label 0", "label 1"]
    arrays = {f"{s.name}/{what}": getattr(s, what) for s in found for what in ("scores", "labels")}
    np.savez_compressed(out / "scores.npz", **arrays)
    write_records(out / "records.jsonl", records(file, found, tests, classes))
    write_text(out / "scores.html", score_page.page(file, found, tests, classes))


def _names(paths: Sequence[Path]) -> list[str]:
    """Names of files and folders, with those of their folders where they would be the same."""
    short = [path.name for path in paths]
    names = short if len(set(short)) == len(short) else [f"{path.parent.name}/{path.name}" for path in paths]
    if len(set(names)) != len(names):
        raise UsageError("sources", expected="files or folders of different names", got=", ".join(names))
    return names


def _scored(
    file: ModelFile,
    network: Any,
    name: str,
    path: Path,
    told: Any,
    limit: int | None,
    batch_size: int,
    advance: Any,
) -> Source:
    from holdfast.data.conversion.layout import is_converted
    from holdfast.data.manifest import image_files
    from holdfast.data.survey import open_told

    paths = [path / "test.h5"] if path.is_dir() and is_converted(path) else image_files(path, below=True)
    readers = [open_told(each, **told) for each in paths]
    parts, labels, steps = [], [], []
    for reader in readers:
        pipeline = input_pipeline(file, reader)
        steps += [f"{step['name']} {_options(step)}".strip() for step in pipeline.to_json()]
        for images, y in _batches(reader, limit, batch_size):
            parts.append(_log_odds(network, pipeline.apply(images)))
            labels.append(y)
            advance(len(y))
    if not parts:
        raise DataError(str(path), expected="events", got="none")
    scores = np.concatenate(parts)
    finite = np.isfinite(scores)
    return Source(
        name,
        scores[finite],
        np.concatenate(labels)[finite],
        all(reader.simulated for reader in readers),
        int((~finite).sum()),
        list(dict.fromkeys(steps)),
    )


def _options(step: dict[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in step.items() if key != "name")


def _batches(reader: Any, limit: int | None, batch_size: int) -> Iterator[tuple[Any, NDArray[np.int64]]]:
    for block in reader.blocks(batch_size, stop=limit):
        given = block.columns.get(reader.label) if reader.label else None
        known = np.full(len(block), -1) if given is None else np.nan_to_num(given, nan=-1.0)
        yield block.images, known.astype(np.int64)


def _log_odds(network: Any, images: Any) -> Scores:
    """Log odds (n,) of class 1: probabilities would tie where they saturate."""
    import torch

    with torch.inference_mode():
        logits = network(torch.tensor(images)).double().numpy()
    if logits.shape[1] != 2:
        raise UsageError("model", expected="two classes", got=logits.shape[1])
    return np.asarray(logits[:, 1] - logits[:, 0])


def comparisons(found: Sequence[Source]) -> Iterator[TwoSample]:
    """Each source against the first, for each class that both have ten events of and for all events."""
    from scipy.stats import ks_2samp

    reference, *others = found
    for other in others:
        for label in (0, 1, None):
            a, b = reference.of(label), other.of(label)
            if min(len(a), len(b)) < 10:
                continue
            origin = np.repeat([0, 1], [len(a), len(b)])
            auc, interval = roc_auc(origin, np.concatenate([a, b]))
            ks = ks_2samp(a, b)
            yield TwoSample(
                other.name,
                reference.name,
                label,
                len(b),
                len(a),
                auc,
                interval,
                float(ks.statistic),
                float(ks.pvalue),
            )


def records(
    file: ModelFile, found: Sequence[Source], tests: Sequence[TwoSample], classes: Sequence[str]
) -> list[Record]:
    """AUC of the classes in each source, and how well scores tell each source from the first."""
    simulated = {source.name: source.simulated for source in found}
    made = []
    for source in found:
        known = source.labels >= 0
        common: dict[str, Any] = {"unit": "1", "simulated": source.simulated}
        labels: dict[str, Label] = {**file.labels, "source": source.name}
        if set(np.unique(source.labels[known])) == {0, 1}:
            auc, interval = roc_auc(source.labels[known], source.scores[known])
            n = int(known.sum())
            made.append(
                Record(
                    metric="auc",
                    value=auc,
                    interval=interval,
                    n=n,
                    direction="higher",
                    labels=labels,
                    **common,
                )
            )
        bad: dict[str, Any] = {"metric": "scores_not_finite", "value": source.bad, "unit": "events"}
        made.append(Record(**bad, direction="lower", labels=labels, simulated=source.simulated))
    for test in tests:
        of = "all" if test.label is None else classes[test.label]
        labels = {**file.labels, "source": test.name, "against": test.against, "class": of}
        common = {"unit": "1", "n": test.n + test.m, "direction": "none", "labels": labels}
        common["simulated"] = simulated[test.name] and simulated[test.against]
        made.append(Record(metric="two_sample_auc", value=test.auc, interval=test.interval, **common))
        made.append(Record(metric="kolmogorov_smirnov", value=test.ks, **common))
        made.append(Record(metric="kolmogorov_smirnov_p", value=test.p, **common))
    return made
