"""Running a component: steps in order, each from the cache or in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

from holdfast.core.errors import HoldfastError, InfrastructureError, StorageError
from holdfast.core.paths import home
from holdfast.core.result import Record, read_records
from holdfast.hub import key as keys
from holdfast.hub import publish, run_record
from holdfast.hub.cache import LOG, Cache
from holdfast.hub.component import Component, described
from holdfast.hub.explanation import reasons
from holdfast.hub.hashes import FileHashes
from holdfast.hub.kinds import Program
from holdfast.hub.matrix import with_cell
from holdfast.hub.needs import Needs
from holdfast.hub.places import Places, outcome, places
from holdfast.hub.process import terminable
from holdfast.hub.resolution import Choices
from holdfast.hub.run_record import Run, StepResult
from holdfast.hub.work import Made, Work, with_components
from holdfast.hub.workflow import BoundStep, Plan, Queue, load
from holdfast.hub.workflow_file import locate


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
    workers: int | None = None,
    executor: Executor | None = None,
    software: Choices | None = None,
    lock: Path | None = None,
) -> Run:
    """Run a workflow, a program alone, or a paper's workflow, on ``inputs`` (text is parsed as declared).

    ``step.input`` among ``inputs`` sets the input of a step. Every step is served from the cache if its key
    was seen before, unless ``force``. The run is kept as an experiment, also if it fails; with ``out`` the
    declared outputs, ``records.jsonl`` and ``run.json`` are copied there. A paper's claims are then rendered
    beside these records, to ``paper.html`` in ``out`` or in the experiment. Independent steps run one by one,
    up to ``workers`` at the same time on this machine, or with ``executor``, whose ``workers`` share this
    home folder.

    What programs need is resolved before their step: software that is here (``software`` says which of
    several: ``{"gcc": "/usr/bin/gcc-12"}``) and packages, which are installed unless that takes the network.
    With a ``lock`` (a file that ``lock.write`` made) everything must be as it says, before anything runs;
    inputs that it holds and that are not given are taken from it.

    Raises DriftError where a lock is not met, UsageError for inputs, ComponentError for components, StepError
    for a step that fails (with the exit code of its cause), StorageError, and KeyboardInterrupt after Ctrl-C
    or SIGTERM: running it again continues.
    """
    found = locate(component, project=project) if isinstance(component, str) else component
    locked = None
    if lock is not None:
        from holdfast.hub import lock as locks

        locked = locks.read(lock)
        inputs = {**locked.inputs, **(inputs or {})}
    plan = load(found, project=project, pins=locked.versions() if locked else None)
    resolved = plan.resolve(inputs or {})
    if out is not None:
        publish.prepare(out)
    hashes = FileHashes(home() / "hashes.sqlite")
    needs = Needs(hashes, software=software, locked=locked, project=project)
    with closing(hashes), terminable(), places(executor, workers) as where:
        if locked is not None:
            locks.enforce(locked, plan, resolved, needs)
        result = _Runner(plan, resolved, force, on_event or (lambda event: None), where, needs).run(out)
    if found.kind == "paper":
        from holdfast.hub import paper

        paper.write_beside(found, result)
    return result


class _Runner:
    def __init__(
        self,
        plan: Plan,
        inputs: dict[str, Any],
        force: bool,
        on_event: OnEvent,
        places: Places,
        needs: Needs,
    ) -> None:
        self.plan, self.inputs, self.force, self.on_event = plan, inputs, force, on_event
        self.places, self.needs, self.hashes = places, needs, needs.hashes
        self.cache = Cache(home(), self.hashes)
        self.outputs: dict[str, dict[str, str] | None] = {}
        self.made: dict[str, str] = {}
        component = plan.component
        self.history = run_record.History(component.id)
        self.results: dict[str, StepResult] = {}
        self.records: dict[str, list[Record]] = {}
        self.begun: dict[str, float] = {}
        self.started: set[str] = set()
        self.index = {step.id: index for index, step in enumerate(plan.steps, start=1)}
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
            self._steps()
        except BaseException as error:
            self.result.status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            self.result.error = str(error) or self.result.status
            with suppress(StorageError):  # the first error is the one to tell
                self._save(start)
            raise
        self._save(start)
        if out is not None:
            publish.outputs(self.plan, self.outputs, self.result, out)
        return self.result

    def _save(self, start: float) -> None:
        self.result.seconds = perf_counter() - start
        self.result.steps = [self.results[step.id] for step in self.plan.steps if step.id in self.results]
        self.result.records = [record for step in self.plan.steps for record in self.records.get(step.id, ())]
        run_record.save(self.result)

    def _steps(self) -> None:
        """Start every step as soon as what it needs has ended and there is room; after an error, no other.

        Raises the error of the first step in the plan that has one, when nothing runs any more.
        """
        queue = Queue(self.plan.steps)
        errors: dict[int, BaseException] = {}
        try:
            while True:
                while not errors and (step := queue.peek()) is not None and self._fits(step):
                    queue.take()
                    try:
                        if self._begin(step):
                            queue.done(step.id)
                    except HoldfastError as error:
                        self._failed(step, error)
                        errors[self.index[step.id]] = error
                if not self.begun:
                    break
                for name, ended in self.places.finished():
                    problem = self._end(self.plan.steps[self.index[name] - 1], outcome(ended))
                    if problem is None:
                        queue.done(name)
                    else:
                        errors[self.index[name]] = problem
        except KeyboardInterrupt as interrupt:
            self.places.interrupt()
            for name in list(self.begun):
                self._failed(self.plan.steps[self.index[name] - 1], interrupt)
            raise
        if errors:
            raise errors[min(errors)]

    def _fits(self, step: BoundStep) -> bool:
        return self.places.fits(step.step.resources)

    def _tell(self, step: BoundStep, kind: Any, message: str = "") -> None:
        seconds, total = self.results[step.id].seconds, len(self.plan.steps)
        self.on_event(Event(kind, step.id, step.title, self.index[step.id], total, seconds, message))

    def _begin(self, step: BoundStep) -> bool:
        """Skip ``step``, serve it from the cache, or start it; return whether it has ended."""
        result = StepResult(step.id, step.title, step.program.id, "skipped", cell=step.cell)
        self.results[step.id] = result
        unmet = step.unmet(self.inputs, self.records)
        if unmet is not None:
            self.outputs[step.id] = None
            result.reasons = [unmet]
            self._tell(step, "skipped", unmet)
            return True
        start = self.begun[step.id] = perf_counter()
        self._tell(step, "start")
        result.status = "failed"
        program = described(step.program, Program)
        inputs = self.plan.step_inputs(step, self.inputs, self.outputs)
        needs = self.needs.satisfy(step.program, lambda message: self._tell(step, "waiting", message))
        result.needs = {name: item.to_json() for name, item in needs.items()}
        facets = keys.of_step(step, inputs, self.hashes, self.made, needs)
        key = keys.key(facets if program.cache else {**facets, "run": self.result.id})
        result.key, result.facets = key, facets
        last = self.history.last_step(step.id)
        # What this run has made, or makes, is not forced again for another cell.
        force, damaged = self.force and key not in self.started, False
        if not force:
            damaged = self.cache.folder(key).exists()
            if entry := self.cache.lookup(key):
                result.reasons = reasons(facets, last, hit=True)
                self._ended(step, Made(entry, "hit"), perf_counter() - start)
                return True
        result.reasons = reasons(facets, last, hit=False, forced=force, cached=program.cache, damaged=damaged)
        work = Work(
            step.id,
            step.program,
            inputs,
            facets,
            key,
            home(),
            force=force,
            timeout_s=step.step.timeout_s or program.timeout_s,
            resources=step.step.resources,
            retries=step.step.retries,
            needs=needs,
        )
        self.started.add(key)
        self.places.start(work, lambda: self._tell(step, "waiting", "another process works on this step"))
        return False

    def _end(self, step: BoundStep, ended: Made | BaseException) -> BaseException | None:
        """Keep what a started step has made; return the error that it ended with."""
        seconds = perf_counter() - self.begun[step.id]
        if isinstance(ended, Made):
            if ended.status == "hit":
                self.results[step.id].reasons = ["another process finished it meanwhile"]
            self._ended(step, ended, seconds)
            return None
        if not isinstance(ended, HoldfastError | KeyboardInterrupt):
            lost = f"{type(ended).__name__}: {ended}"
            ended = InfrastructureError(f"step {step.id}: lost by its executor", got=lost)
        self._failed(step, ended)
        if isinstance(ended, KeyboardInterrupt):
            raise ended
        return ended

    def _failed(self, step: BoundStep, error: BaseException) -> None:
        result = self.results[step.id]
        result.seconds = perf_counter() - self.begun.pop(step.id, perf_counter())
        if isinstance(error, KeyboardInterrupt):
            result.status = "interrupted"
            self._tell(step, "interrupted")
        else:
            self._tell(step, "failed", str(error))

    def _ended(self, step: BoundStep, made: Made, seconds: float) -> None:
        del self.begun[step.id]
        result, entry = self.results[step.id], made.entry
        result.status, result.seconds, result.attempts = made.status, seconds, made.attempts
        paths = {name: str(path) for name, path in entry.paths().items()}
        self.outputs[step.id] = result.outputs = paths
        result.hashes = {name: output["hash"] for name, output in entry.meta["outputs"].items()}
        self.made.update({path: result.hashes[name] for name, path in paths.items()})
        result.made, result.log = entry.meta["finished"], str(entry.folder / LOG)
        own = {self.plan.component.id: self.plan.component.ref}
        self.records[step.id] = [
            with_cell(with_components(record, own), step.cell)
            for path in entry.records()
            for record in read_records(path)
        ]
        self._tell(step, result.status)
