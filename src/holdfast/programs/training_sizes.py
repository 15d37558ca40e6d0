"""Program ``training-sizes``: how quality grows with the number of training images, model by model."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from holdfast.core.errors import UsageError
from holdfast.core.paths import write_text
from holdfast.core.progress import progress
from holdfast.core.result import Interval, Label, Record, write_records
from holdfast.programs.training_files import tell

if TYPE_CHECKING:
    from holdfast.data.stream import Stream


@dataclass(frozen=True)
class Candidate:
    """A model of the study and how it is trained."""

    model: str
    name: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    lr: float = 3e-3

    @classmethod
    def of(cls, given: Any) -> Candidate:
        """From a name, or from an object with model, name, options, lr. Raises UsageError."""
        try:
            made = cls(**({"model": given} if isinstance(given, str) else given))
        except TypeError as error:
            raise UsageError(
                "models", expected="names, or model, name, options, lr", got=str(error)
            ) from error
        return cls(made.model, made.name or made.model, made.options, made.lr)


def run(
    out: Path,
    *,
    data: Path | str,
    models: list[Any],
    sizes: list[int],
    repeats: int,
    steps: int,
    max_epochs: int,
    batch_size: int,
    judged: int | None,
    seed: int,
) -> None:
    """Train every model on every size ``repeats`` times; write ``out/records.jsonl`` and ``out/sizes.svg``.

    Each training makes at least ``steps`` steps, unless that would be more than ``max_epochs`` epochs, and
    keeps the epoch that is best on the validation split. A size takes that many images of the training split,
    spread evenly over it: the same ones in every repetition, which has other first weights and another order.
    Records ``auc`` (``accuracy`` for more classes than two) on the test split, labelled with ``images``: one
    a training, and their mean with a 95 % interval over the repetitions (Student's t; of a single one, its
    own). Images that ``limit`` the judging are ``judged`` at most. A killed run that starts again in the same
    ``out`` goes on.
    """
    from holdfast.data import open as open_data

    candidates = [Candidate.of(each) for each in models]
    names = [each.name for each in candidates]
    if len(set(names)) < len(names) or not names:
        raise UsageError("models", expected="at least one, each with a name of its own", got=names)
    whole = open_data(data, split="train", seed=seed).info.n
    if not sizes or min(sizes) < 2 or max(sizes) > whole or len(set(sizes)) < len(sizes):
        raise UsageError(
            "sizes", expected=f"different sizes from 2 to the {whole} images there are", got=sizes
        )
    val, test = (open_data(data, split=split, seed=seed, limit=judged) for split in ("val", "test"))
    records: list[Record] = []
    with progress("sizes", len(sizes) * len(candidates) * repeats, "trainings") as advance:
        for size in sorted(sizes):
            train = open_data(data, split="train", seed=seed, limit=size)
            for candidate in candidates:
                runs = []
                for repeat in range(repeats):
                    epochs = max(1, min(max_epochs, ceil(steps / ceil(size / batch_size))))
                    folder = out / candidate.name / str(size) / str(repeat)
                    settings = {"epochs": epochs, "batch_size": batch_size, "seed": seed + repeat}
                    runs.append(_trained(candidate, train, val, test, folder, settings))
                    advance(1, note=f"{candidate.name}, {size} images")
                records += [*runs, _mean(runs)]
    write_records(out / "records.jsonl", records)
    write_text(out / "sizes.svg", chart(records))


def _trained(
    candidate: Candidate, train: Stream, val: Stream, test: Stream, folder: Path, settings: dict[str, Any]
) -> Record:
    """The quality on ``test`` of one model trained in ``folder``."""
    import torch

    from holdfast import bench, models, training

    info = train.info
    torch.manual_seed(settings["seed"])
    network = models.create(
        candidate.model,
        in_channels=info.shape[0],
        classes=len(info.classes),
        size=info.shape[1],
        **candidate.options,
    )
    result = training.fit(
        network, train, val, lr=candidate.lr, out=folder, trackers=(), on_estimate=tell, **settings
    )
    labels: dict[str, Label] = {
        "model": candidate.name,
        "protection": "plain",
        "split": "test",
        "images": info.n,
        "epochs": settings["epochs"],
        "training_seed": settings["seed"],
    }
    # AUC where there is one: it comes last.
    return bench.quality(models.load(result.best), test, labels=labels, seed=settings["seed"])[-1]


def _mean(runs: list[Record]) -> Record:
    """The mean over repetitions, which takes the place of ``training_seed`` by their number."""
    first = runs[0]
    labels = {key: value for key, value in first.labels.items() if key != "training_seed"}
    labels["repeats"] = len(runs)
    if invalid := [run for run in runs if run.value is None]:
        return invalid[0].model_copy(update={"labels": labels})
    values = np.array([run.value for run in runs], dtype=float)
    interval = first.interval if len(runs) == 1 else over_repeats(values)
    value = float(values.mean())
    return first.model_copy(update={"value": value, "interval": interval, "labels": labels})


def over_repeats(values: np.ndarray[Any, np.dtype[np.float64]], level: float = 0.95) -> Interval:
    """Student's interval of the mean of ``values`` (n,), n > 1, clipped to [0, 1].

    It says how the choice of first weights and order moves the result, not how the test images do.
    """
    from scipy.stats import t

    n = len(values)
    half = float(t.ppf(0.5 + level / 2, n - 1)) * float(values.std(ddof=1)) / sqrt(n)
    centre = float(values.mean())
    return Interval(
        low=max(0.0, centre - half), high=min(1.0, centre + half), level=level, method="student-t"
    )


def chart(records: list[Record]) -> str:
    """The means of ``records`` over the number of training images, as SVG."""
    from holdfast.programs import training_charts

    rows = [
        {
            "model": str(record.labels["model"]),
            "images": record.labels["images"],
            "value": record.value,
            "low": record.interval.low if record.interval else record.value,
            "high": record.interval.high if record.interval else record.value,
        }
        for record in records
        if "repeats" in record.labels and record.value is not None
    ]
    what = {"auc": "test ROC-AUC", "accuracy": "test accuracy"}[records[0].metric]
    return training_charts.sizes(rows, y_title=what + (" (simulated)" if records[0].simulated else ""))
