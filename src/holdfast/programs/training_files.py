"""What programs that train share: names from the command line, and the files that a training leaves."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.core.paths import storage_errors, write_text

if TYPE_CHECKING:
    from holdfast.bench.metrics import Evaluation
    from holdfast.training.augment import Augment
    from holdfast.training.estimate import Estimate

TRACKED = ("tensorboard", "mlruns", "wandb")
"""Folders that trackers write into."""
SYMMETRIES = ("eta_flip", "phi_flip", "rot90")


def listed(names: str | None) -> list[str]:
    """Names from text with commas between them."""
    return [name.strip() for name in (names or "").split(",") if name.strip()]


def augmentation(
    names: str | None, options: Mapping[str, Mapping[str, Any]], allow_unsafe: bool, info: Any
) -> Augment | None:
    """The augmentations ``names`` for the data that ``info`` describes. Raises UsageError."""
    from holdfast.training import augment

    made = {name: dict(given) for name, given in options.items()}
    for name in set(listed(names)) & set(SYMMETRIES) if allow_unsafe else ():
        made.setdefault(name, {})["unsafe"] = True
    return augment.create_all(listed(names), info=info, options=made)


def tell(estimate: Estimate) -> None:
    """Say on stderr how long a training will take."""
    print(f"training: {estimate}", file=sys.stderr, flush=True)


def keep_curves(
    folder: Path,
    training: Path,
    history: Sequence[dict[str, Any]],
    found: Evaluation | None = None,
    *,
    series: str = "",
    loss: str = "loss (nats)",
    charts: bool = False,
) -> None:
    """Write the learning curves, the ROC curve of ``found`` and what trackers left in ``training``.

    ``history.csv`` and ``roc.csv`` (two classes only), with ``charts`` each with an SVG beside it.
    Raises StorageError.
    """
    from holdfast.training.curves import roc_points, write_table

    write_table(folder / "history.csv", history)
    points = roc_points(found.labels, found.scores) if found is not None and found.has_auc else []
    if points:
        write_table(folder / "roc.csv", points)
    if charts:
        from holdfast.programs import training_charts

        write_text(folder / "history.svg", training_charts.learning(history, loss=loss))
        if points:
            write_text(folder / "roc.svg", training_charts.roc([{**p, "series": series} for p in points]))
    for name in TRACKED:
        if (training / name).is_dir():
            with storage_errors(folder / name):
                shutil.copytree(training / name, folder / name, symlinks=True, dirs_exist_ok=True)
