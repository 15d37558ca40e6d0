"""The making of one step's result: under its lock, with retries, from a work folder to a cache entry."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Literal

from holdfast.core.errors import DataError, HoldfastError, InfrastructureError, StepError, StorageError
from holdfast.core.result import ComponentRef, Record, read_records, write_records
from holdfast.hub import measured
from holdfast.hub.cache import LOG, Cache, Entry
from holdfast.hub.component import Component, described
from holdfast.hub.hashes import FileHashes
from holdfast.hub.key import Facets
from holdfast.hub.kinds import Program, Resources
from holdfast.hub.needs import Satisfied, components, software
from holdfast.hub.process import Call, Stop, execute

BACKOFF_S = 0.5
"""Pause before the first retry; each further one is twice as long, up to ``LONGEST_BACKOFF_S``."""

LONGEST_BACKOFF_S = 30.0


@dataclass(frozen=True)
class Work:
    """All that is needed to make a step's result, here or on a machine that shares the folder ``root``."""

    step: str
    component: Component
    inputs: dict[str, object]
    facets: Facets
    key: str
    root: Path
    force: bool = False
    timeout_s: float | None = None
    resources: Resources | None = None
    retries: int = 0
    needs: Mapping[str, Satisfied] = field(default_factory=dict)


@dataclass(frozen=True)
class Made:
    """A result, whether this ``ran`` or another process was first (``hit``), and how many tries it took."""

    entry: Entry
    status: Literal["ran", "hit"]
    attempts: int = 1


def perform(
    work: Work,
    *,
    on_wait: Callable[[], None] = lambda: None,
    cpus: Sequence[int] = (),
    stop: Stop | None = None,
) -> Made:
    """Make the result of ``work`` unless another process has made it meanwhile; ``on_wait`` if one is at it.

    After an infrastructure error (the program was killed from outside, or the disk is full) it is tried again
    ``work.retries`` times; a failure, a crash or a timeout of the program is never tried again. Raises
    StepError, InfrastructureError, StorageError, and KeyboardInterrupt.
    """
    hashes = FileHashes(work.root / "hashes.sqlite")
    try:
        cache = Cache(work.root, hashes)
        with cache.lock(work.key, on_wait) as lock:
            if not work.force and (entry := cache.lookup(work.key)):
                return Made(entry, "hit")
            for attempt in range(1, work.retries + 2):
                try:
                    return Made(_attempt(work, cache, (lock,), cpus, stop), "ran", attempt)
                except HoldfastError as error:
                    if attempt > work.retries or not is_infrastructure(error):
                        raise
                _pause(min(BACKOFF_S * 2 ** (attempt - 1), LONGEST_BACKOFF_S), stop)
            raise AssertionError("the last attempt returns or raises")
    finally:
        hashes.close()


def is_infrastructure(error: BaseException) -> bool:
    """Whether the machine is to blame and another try may help."""
    full = isinstance(error, HoldfastError) and error.exit_code == StorageError.exit_code
    return full or isinstance(error, InfrastructureError)


def _attempt(
    work: Work, cache: Cache, keep: tuple[int, ...], cpus: Sequence[int], stop: Stop | None
) -> Entry:
    program = described(work.component, Program)
    folder = cache.start(work.key, keep=program.resumable and not work.force)
    start = perf_counter()
    call = Call(work.component, work.inputs, folder, work.needs)
    try:
        execute(
            call,
            timeout=work.timeout_s,
            keep=keep,
            resources=work.resources,
            cpus=cpus,
            stop=stop,
            environment={"HOLDFAST_HOME": str(work.root)},
        )
        _check_outputs(program, call)
        _read_metrics(program, call)
        _complete_records(program, call, work.component)
    except (StepError, DataError) as error:
        raise _of_step(work.step, error) from error
    meta = {
        "schema": "holdfast.result/1",
        "component": work.component.id,
        "facets": work.facets,
        "seconds": perf_counter() - start,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "outputs": {name: {"path": output.path} for name, output in program.outputs.items()},
        "records": [{"path": str(path.relative_to(call.out))} for path in _record_files(program, call.out)],
    }
    return cache.commit(work.key, meta)


def _of_step(step: str, error: HoldfastError) -> StepError:
    kind = InfrastructureError if isinstance(error, InfrastructureError) else StepError
    code = error.exit_code
    if type(error) is StepError and code == StepError.exit_code:
        return kind(f"step {step}: {error}")
    return kind(f"step {step}: {error}", exit_code=code)


def _pause(seconds: float, stop: Stop | None) -> None:
    if stop is None:
        time.sleep(seconds)
    elif stop.asked.wait(seconds):
        raise KeyboardInterrupt


def _check_outputs(program: Program, call: Call) -> None:
    for name, output in program.outputs.items():
        path = call.out / output.path
        if not (path.is_dir() if output.type == "folder" else path.is_file()):
            raise StepError(
                f"output {name!r} is missing",
                expected=f"the {output.type} {output.path}",
                remedy=f"see {call.work / LOG}",
            )


def _record_files(program: Program, out: Path) -> list[Path]:
    declared = [output.path for output in program.outputs.values() if output.type == "records"]
    names = dict.fromkeys([*declared, "records.jsonl"])
    return [out / name for name in names if (out / name).is_file()]


def _read_metrics(program: Program, call: Call) -> None:
    """Add the metrics that the component reads from the program's log and outputs to its records."""
    found = measured.read(program, call.inputs, call.work / LOG, call.out)
    if found:
        path = call.out / "records.jsonl"
        write_records(path, [*(read_records(path) if path.is_file() else []), *found])


def _complete_records(program: Program, call: Call, component: Component) -> None:
    taking_part = {component.id: component.ref, **components(call.needs)}
    found = software(call.needs)
    for path in _record_files(program, call.out):
        records = [with_components(record, taking_part) for record in read_records(path)]
        if found:
            records = [r.model_copy(update={"software": {**r.software, **found}}) for r in records]
        write_records(path, records)


def with_components(record: Record, components: dict[str, ComponentRef]) -> Record:
    """``record`` with the versions and hashes of further components."""
    return record.model_copy(update={"components": {**record.components, **components}})
