"""Running a component: steps in order, each from the cache or in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

from holdfast.core.errors import DataError, HoldfastError, StepError, StorageError
from holdfast.core.paths import home
from holdfast.core.result import ComponentRef, Record, read_records, write_records
from holdfast.hub import key as keys
from holdfast.hub import publish, run_record
from holdfast.hub.cache import LOG, Cache, Entry
from holdfast.hub.component import Component, described
from holdfast.hub.explanation import reasons
from holdfast.hub.hashes import FileHashes
from holdfast.hub.kinds import Program
from holdfast.hub.process import Call, execute, terminable
from holdfast.hub.repository import find
from holdfast.hub.run_record import Run, StepResult
from holdfast.hub.workflow import BoundStep, Plan, load


@dataclass(frozen=True)
class Event:
    """What a run just did: ``step`` is the ``index``-th (from 1) of ``total``."""

    kind: Literal["start", "waiting", "hit", "ran", "skipped", "failed", "interrupted"]
    step: str
    title: str
    index: int
    total: int
    seconds: float = 0.0
    message: str = ""


OnEvent = Callable[[Event], None]


def run(
    component: Component | str,
    inputs: Mapping[str, Any] | None = None,
    *,
    out: Path | None = None,
    force: bool = False,
    on_event: OnEvent | None = None,
    project: Path | None = None,
) -> Run:
    """Run a workflow, a program alone, or a paper's workflow, on ``inputs`` (text is parsed as declared).

    Every step is served from the cache if its key was seen before, unless ``force``. The run is kept as an
    experiment, also if it fails; with ``out`` the declared outputs, ``records.jsonl`` and ``run.json`` are
    copied there. A paper's claims are then rendered beside these records, to ``paper.html`` in ``out`` or in
    the experiment. Raises UsageError for inputs, ComponentError for components, StepError for a step that
    fails (with the exit code of its cause), StorageError, and KeyboardInterrupt after Ctrl-C or SIGTERM:
    running it again continues.
    """
    found = find(component, project=project) if isinstance(component, str) else component
    plan = load(found, project=project)
    resolved = plan.resolve(inputs or {})
    if out is not None:
        publish.prepare(out)
    with terminable():
        result = _Runner(plan, resolved, force, on_event or (lambda event: None)).run(out)
    if found.kind == "paper":
        from holdfast.hub import paper

        paper.write_beside(found, result)
    return result


class _Runner:
    def __init__(self, plan: Plan, inputs: dict[str, Any], force: bool, on_event: OnEvent) -> None:
        self.plan, self.inputs, self.force, self.on_event = plan, inputs, force, on_event
        self.hashes = FileHashes(home() / "hashes.sqlite")
        self.cache = Cache(home(), self.hashes)
        self.outputs: dict[str, dict[str, str] | None] = {}
        self.made: dict[str, str] = {}
        component = plan.component
        self.history = run_record.History(component.id)
        self.result = Run(
            run_record.new_id(component.id),
            component.id,
            component.meta.version,
            component.hash,
            inputs,
            datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def run(self, out: Path | None) -> Run:
        start = perf_counter()
        try:
            for index, step in enumerate(self.plan.steps, start=1):
                self._step(step, index)
        except BaseException as error:
            self.result.status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            self.result.error = str(error) or self.result.status
            with suppress(StorageError):  # the first error is the one to tell
                self._save(start)
            raise
        finally:
            self.hashes.close()
        self._save(start)
        if out is not None:
            publish.outputs(self.plan, self.outputs, self.result, out)
        return self.result

    def _save(self, start: float) -> None:
        self.result.seconds = perf_counter() - start
        run_record.save(self.result)

    def _step(self, step: BoundStep, index: int) -> None:
        result = StepResult(step.id, step.title, step.program.id, "skipped")
        self.result.steps.append(result)

        def tell(kind: Any, message: str = "") -> None:
            total = len(self.plan.steps)
            self.on_event(Event(kind, step.id, step.title, index, total, result.seconds, message))

        unmet = step.when.unmet(self.inputs[step.when.input]) if step.when else None
        if unmet is not None:
            self.outputs[step.id] = None
            result.reasons = [unmet]
            tell("skipped", result.reasons[0])
            return
        start = perf_counter()
        tell("start")
        try:
            result.status = "failed"
            entry = self._entry(step, result, lambda: tell("waiting", "another process works on this step"))
        except HoldfastError as error:
            tell("failed", str(error))
            raise
        except KeyboardInterrupt:
            result.status = "interrupted"
            tell("interrupted")
            raise
        finally:
            result.seconds = perf_counter() - start
        self._keep(step, result, entry)
        tell(result.status)

    def _entry(self, step: BoundStep, result: StepResult, on_wait: Callable[[], None]) -> Entry:
        program = described(step.program, Program)
        inputs = self.plan.step_inputs(step, self.inputs, self.outputs)
        facets = keys.facets(step.program, inputs, self.hashes, self.made)
        key = keys.key(facets if program.cache else {**facets, "run": self.result.id})
        result.key, result.facets = key, facets
        last = self.history.last_step(step.id)
        damaged = False
        if not self.force:
            damaged = self.cache.folder(key).exists()
            if entry := self.cache.lookup(key):
                result.status, result.reasons = "hit", reasons(facets, last, hit=True)
                return entry
        with self.cache.lock(key, on_wait) as lock:
            if not self.force and (entry := self.cache.lookup(key)):
                result.status, result.reasons = "hit", ["another process finished it meanwhile"]
                return entry
            result.reasons = reasons(
                facets, last, hit=False, forced=self.force, cached=program.cache, damaged=damaged
            )
            entry = self._execute(step, inputs, facets, key, lock)
        result.status = "ran"
        return entry

    def _execute(
        self, step: BoundStep, inputs: dict[str, Any], facets: keys.Facets, key: str, lock: int
    ) -> Entry:
        program = described(step.program, Program)
        work = self.cache.start(key, keep=program.resumable and not self.force)
        start = perf_counter()
        call = Call(step.program, inputs, work)
        try:
            execute(call, timeout=program.timeout_s, keep=(lock,))
            _check_outputs(program, call)
            _complete_records(program, call, {step.program.id: step.program.ref})
        except (StepError, DataError) as error:
            code = (
                None
                if type(error) is StepError and error.exit_code == StepError.exit_code
                else error.exit_code
            )
            raise StepError(f"step {step.id}: {error}", exit_code=code) from error
        meta = {
            "schema": "holdfast.result/1",
            "component": step.program.id,
            "facets": facets,
            "seconds": perf_counter() - start,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "outputs": {name: {"path": output.path} for name, output in program.outputs.items()},
            "records": [
                {"path": str(path.relative_to(call.out))} for path in _record_files(program, call.out)
            ],
        }
        return self.cache.commit(key, meta)

    def _keep(self, step: BoundStep, result: StepResult, entry: Entry) -> None:
        paths = {name: str(path) for name, path in entry.paths().items()}
        self.outputs[step.id] = result.outputs = paths
        result.hashes = {name: output["hash"] for name, output in entry.meta["outputs"].items()}
        self.made.update({path: result.hashes[name] for name, path in paths.items()})
        result.made, result.log = entry.meta["finished"], str(entry.folder / LOG)
        own = {self.plan.component.id: self.plan.component.ref}
        for path in entry.records():
            self.result.records += [_with_components(record, own) for record in read_records(path)]


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


def _complete_records(program: Program, call: Call, components: dict[str, ComponentRef]) -> None:
    for path in _record_files(program, call.out):
        write_records(path, [_with_components(record, components) for record in read_records(path)])


def _with_components(record: Record, components: dict[str, ComponentRef]) -> Record:
    return record.model_copy(update={"components": {**record.components, **components}})
