"""Program ``robustness``: how many images of a data set a model still has right under an attack."""

from __future__ import annotations

from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from holdfast.core.errors import UsageError
from holdfast.core.result import write_records
from holdfast.hub import executors
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
    executor: str = "local",
) -> None:
    """Attack the first ``images`` images of ``split``; write ``out/records.jsonl`` and ``out/evaluation/``.

    ``images`` are the same ones for every model: the first of each class, in proportion. A packed network is
    judged as an ordinary module, and attacked in faster forms that are equal to it; with ``replay`` what was
    found is shown to its compiled form as well. A killed run goes on where it was. ``executor``
    (``hub.executors``) with ``workers`` processes computes the batches.
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
    if file.protection is None:
        harm = stress.Transferred(harm, Seen(file))
    with ExitStack() as stack:
        pool: Executor | None = None
        if executor != "local" or workers > 1:
            pool = stack.enter_context(executors.executor(executor, workers=workers))
        records = stress.evaluate_robustness(
            file,
            stream,
            harm,
            out=out / "evaluation",
            batch_size=batch_size,
            seed=seed,
            replay=compiled,
            keep=keep,
            executor=pool,
            labels={**file.labels, "split": split},
        )
    write_records(out / "records.jsonl", records)


@dataclass(frozen=True)
class Seen:
    """What an attack is made against: a network equal to that of ``file`` up to rounding, and faster.

    The verdict is that of the model itself. Sparse networks are differentiated as sparse matrices; packed
    ones answer in their compiled form where no gradient is asked for.
    """

    file: ModelFile

    def __call__(self) -> nn.Module:
        """The network."""
        from holdfast import subnet

        model = self.file.plain()
        config: Any = model.config
        shape = (config.in_channels, config.size, config.size)
        seen = subnet.as_matrices(model, shape) if subnet.worth_matrices(model, shape) else model
        return subnet.Twin(seen, _compiled(self.file) or seen)


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
