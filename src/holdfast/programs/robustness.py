"""Program ``robustness``: how many images of a data set a model still has right under an attack."""

from __future__ import annotations

from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.core.errors import UsageError
from holdfast.core.result import write_records
from holdfast.programs.model_files import PACKED, ModelFile

if TYPE_CHECKING:
    from holdfast.data.info import DataInfo, Split
    from holdfast.stress.robustness import Answer


def run(
    out: Path,
    *,
    model: Path,
    data: Path | str,
    attack: str,
    options: dict[str, Any],
    eps: float | None,
    eps_gev: float | None,
    images: int | None,
    split: Split,
    batch_size: int,
    replay: bool,
    keep: bool,
    workers: int,
    seed: int,
) -> None:
    """Attack the first ``images`` images of ``split``; write ``out/records.jsonl`` and ``out/evaluation/``.

    ``images`` are the same ones for every model: the first of each class, in proportion. A packed network is
    attacked as an ordinary module; with ``replay`` what was found is shown to its compiled form as well. A
    killed run goes on where it was.
    """
    from holdfast import stress
    from holdfast.data import open as open_data

    stream = open_data(data, split=split, seed=seed, limit=images)
    if images is not None and stream.info.n < images:
        raise UsageError(
            f"images of {split}", expected=f"at least {images}", got=stream.info.n, remedy="ask for fewer"
        )
    radius = {key: value for key, value in (("eps", eps), ("eps_gev", eps_gev)) if value is not None}
    harm = stress.create(attack, info=stream.info, **radius, **options)
    file = ModelFile.open(model)
    _fits(file, stream.info)
    compiled = _compiled(file) if replay else None
    with ExitStack() as stack:
        executor: Executor | None = None
        if workers > 1:
            # Forked copies of a process that uses OpenMP threads may hang.
            executor = stack.enter_context(ProcessPoolExecutor(workers, mp_context=get_context("spawn")))
        records = stress.evaluate_robustness(
            file,
            stream,
            harm,
            out=out / "evaluation",
            batch_size=batch_size,
            seed=seed,
            replay=compiled,
            keep=keep,
            executor=executor,
            labels={**file.labels, "split": split},
        )
    write_records(out / "records.jsonl", records)


def _fits(file: ModelFile, info: DataInfo) -> None:
    """Raise UsageError for images or classes that the model was not made for."""
    config: Any = file.plain().config
    channels, height, width = info.shape
    got = f"{channels} channels and {height}×{width} pixels"
    if (config.in_channels, config.size, config.size) != info.shape:
        expected = f"images of {config.in_channels} channels and {config.size}×{config.size} pixels"
        raise UsageError(f"data for {file.name}", expected=expected, got=got)
    if config.classes < len(info.classes):
        expected = f"at most {config.classes} classes"
        raise UsageError(f"data for {file.name}", expected=expected, got=len(info.classes))


def _compiled(file: ModelFile) -> Answer | None:
    """The compiled form of a packed network; None for any other file."""
    if file.format != PACKED:
        return None
    from holdfast import subnet

    return subnet.load_packed(file.path).compile(threads=1)
