"""Program ``stress``: the same campaign on one or several models."""

from __future__ import annotations

from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.core import environment
from holdfast.core.result import Record, write_records
from holdfast.programs.model_files import ModelFile
from holdfast.programs.standard_stress import standard_stress

if TYPE_CHECKING:
    from holdfast.data.info import Split


def run(
    out: Path,
    *,
    models: list[Path],
    data: Path | str,
    stressors: list[dict[str, Any]] | None,
    trials: int,
    batch_size: int,
    split: Split,
    limit: int | None,
    workers: int | None,
    seed: int,
) -> None:
    """Run every stressor against every model and write ``out/records.jsonl``.

    ``stressors`` are objects ``{"name": …, option: value…, "trials": N}``, the input ``trials`` being the
    default of the last; None is the standard campaign. All models meet the same trials: the draws depend on
    seed, stressor and trial alone. Finished trials are kept in ``out/<model>-<protection>/`` and are not
    repeated after a kill.
    """
    from holdfast import data as sets
    from holdfast import stress

    stream = sets.open(data, split=split, seed=seed, limit=limit)
    chosen = stressors or standard_stress(stream.info.unit_gev)
    counts = [options.get("trials", trials) for options in chosen]
    harm = [stress.create(options["name"], info=stream.info, **_options(options)) for options in chosen]
    records: list[Record] = []
    with ExitStack() as stack:
        executor: Executor | None = None
        if (workers := workers or environment.cores()) > 1:
            # Forked copies of a process that uses OpenMP threads may hang.
            executor = stack.enter_context(ProcessPoolExecutor(workers, mp_context=get_context("spawn")))
        for path in models:
            file = ModelFile.open(path)
            records += stress.campaign.run(
                file,
                harm,
                stream,
                trials=counts,
                batch_size=batch_size,
                seed=seed,
                out=out / "-".join(str(part) for part in file.labels.values()),
                executor=executor,
                labels=file.labels,
            )
    write_records(out / "records.jsonl", records)


def _options(described: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in described.items() if key not in ("name", "trials")}
