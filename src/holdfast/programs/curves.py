"""Program ``curves``: how quality falls as a detector gets worse, model by model, side by side."""

from __future__ import annotations

from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import ExitStack
from itertools import combinations
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.core import environment
from holdfast.core.errors import UsageError
from holdfast.core.result import Label, Record, write_records
from holdfast.programs.model_files import ModelFile
from holdfast.programs.standard_stress import detector_stress

if TYPE_CHECKING:
    from holdfast.data.info import Split


def run(
    out: Path,
    *,
    models: list[Path],
    data: Path | str,
    stressors: list[dict[str, Any]] | None,
    retrained: dict[str, str],
    batch_size: int,
    split: Split,
    limit: int | None,
    workers: int | None,
    seed: int,
) -> None:
    """Run every stressor at every strength over all of ``split`` against every model; write records.

    All models meet the same noise, so that each two of them are also compared image by image
    (``auc_difference``, ``accuracy_difference``: ``stress.paired_differences``). ``retrained`` maps the name
    of a model that was trained under perturbation to that of the one it is to be compared with. Finished
    trials are kept in ``out/<model>/`` and are not repeated after a kill. Raises UsageError for models that
    share a name, and for names in ``retrained`` that are no model's.
    """
    from holdfast import data as sets
    from holdfast import stress

    stream = sets.open(data, split=split, seed=seed, limit=limit)
    chosen = stressors or detector_stress(stream.info.unit_gev, min(stream.info.shape[1:]))
    harm = [stress.create(each["name"], info=stream.info, **_options(each)) for each in chosen]
    files = {_key(file): file for file in map(ModelFile.open, models)}
    _check([_key(ModelFile.open(path)) for path in models], retrained)
    batches = -(-stream.info.n // batch_size)
    records: list[Record] = []
    with ExitStack() as stack:
        executor: Executor | None = None
        if (workers := workers or environment.cores()) > 1:
            # Forked copies of a process that uses OpenMP threads may hang.
            executor = stack.enter_context(ProcessPoolExecutor(workers, mp_context=get_context("spawn")))
        for key, file in files.items():
            about: dict[str, Label] = {**file.labels, "split": split, "retrained": file.name in retrained}
            records += stress.campaign.run(
                file,
                harm,
                stream,
                trials=batches,
                batch_size=batch_size,
                seed=seed,
                out=out / key,
                executor=executor,
                labels={**about, "base": retrained.get(file.name, file.name)},
            )
    for first, second in combinations(files, 2):
        labels = {**files[first].labels, "against": second, "split": split}
        records += stress.paired_differences(
            out / first, out / second, harm, labels=labels, simulated=stream.info.simulated
        )
    write_records(out / "records.jsonl", records)


def _options(described: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in described.items() if key not in ("name", "trials")}


def _key(file: ModelFile) -> str:
    return file.name if file.protection is None else f"{file.name} protected"


def _check(keys: list[str], retrained: dict[str, str]) -> None:
    double = sorted({key for key in keys if keys.count(key) > 1})
    if double:
        remedy = "train them under other names (--name)"
        raise UsageError("models", expected="a name each", got=f"{double} twice", remedy=remedy)
    unknown = sorted({*retrained, *retrained.values()} - set(keys))
    if unknown:
        raise UsageError("retrained", expected=f"of {', '.join(keys)}", got=", ".join(unknown))
