"""What a run leaves behind: one result a step, all records, and the experiment that holds them."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal

from holdfast.core import environment
from holdfast.core.errors import DataError, UnknownNameError, UsageError
from holdfast.core.paths import atomic_folder, home, write_json, write_text
from holdfast.core.result import Record, write_records
from holdfast.hub.machine_state import State, machine_state

SCHEMA: Final = "holdfast.run/1"
_ID = re.compile(r"\d{8}T\d{12}-[0-9a-f]{8}")
_NAME = re.compile(r"[\w.-]*\w[\w.-]*")
StepStatus = Literal["hit", "ran", "skipped", "failed", "interrupted"]
RunStatus = Literal["ok", "failed", "interrupted"]


@dataclass
class StepResult:
    """One step of a run. ``reasons`` say why it hit or missed; ``made`` is when its result was measured.

    ``cell`` is its place along the axes of a matrix, ``attempts`` how often it was tried, ``needs`` what its
    needs became: id, version, hash and path.
    """

    id: str
    title: str
    program: str
    status: StepStatus
    key: str | None = None
    facets: dict[str, Any] | None = None
    reasons: list[str] = field(default_factory=list)
    seconds: float = 0.0
    made: str | None = None
    outputs: dict[str, str] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    log: str | None = None
    cell: dict[str, Any] = field(default_factory=dict)
    attempts: int = 1
    needs: dict[str, Any] = field(default_factory=dict)

    @property
    def hit(self) -> bool:
        """Whether the result came from the cache."""
        return self.status == "hit"


@dataclass
class Run:
    """One run of a component: what went in, what each step did, what was measured, where it is kept.

    ``machine`` is the state of the machine ``before`` the run and, once it is saved, ``after``.
    """

    id: str
    component: str
    version: str
    hash: str
    inputs: dict[str, Any]
    started: str
    status: RunStatus = "ok"
    error: str | None = None
    seconds: float = 0.0
    steps: list[StepResult] = field(default_factory=list)
    records: list[Record] = field(default_factory=list, repr=False)
    folder: Path | None = None
    out: Path | None = None
    machine: dict[str, State] = field(default_factory=lambda: {"before": machine_state()}, repr=False)

    def output(self, step: str, name: str) -> Path:
        """Path of an output of a step."""
        return Path(next(result for result in self.steps if result.id == step).outputs[name])

    def to_json(self) -> dict[str, Any]:
        """The run as ``run.json`` holds it: everything but the records."""
        return {
            "schema": SCHEMA,
            "id": self.id,
            "component": self.component,
            "version": self.version,
            "hash": self.hash,
            "inputs": self.inputs,
            "status": self.status,
            "error": self.error,
            "started": self.started,
            "seconds": self.seconds,
            "steps": [asdict(step) for step in self.steps],
            "software": environment.software(),
            "platform": environment.machine(),
            "host": environment.host(),
            "machine": self.machine,
        }

    def write(self, folder: Path) -> None:
        """Write ``run.json`` and ``records.jsonl`` into ``folder``. Raises StorageError."""
        write_records(folder / "records.jsonl", self.records)
        write_json(folder / "run.json", self.to_json())


def save(run: Run, files: Mapping[str, str] | None = None) -> Path:
    """Keep ``run`` as an experiment, whole or not at all; return its folder. Raises StorageError.

    ``files``: further texts that lie in the folder, by name.
    """
    target = experiments() / run.component.partition(":")[2] / run.id
    run.machine["after"] = machine_state()
    with atomic_folder(target) as staging:
        run.write(staging)
        for name, text in (files or {}).items():
            write_text(staging / name, text)
    run.folder = target
    return target


def experiments() -> Path:
    """Folder of all experiments: ``<name>/<run id>/``."""
    return home() / "experiments"


def load(folder: Path) -> dict[str, Any]:
    """``run.json`` of an experiment's folder. Raises DataError for one that is not whole."""
    try:
        run: dict[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        if run["schema"] != SCHEMA:
            raise ValueError(f"schema {run['schema']}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(str(folder), expected=f"a {SCHEMA} experiment", got=str(error)) from error
    return run


def locate(experiment: str | Path) -> Path:
    """The folder of the run that ``experiment`` means: a folder with ``run.json``, a run id, or a name.

    A name (``NAME``, ``experiment:NAME``, or ``kind:NAME`` where runs of several kinds have it) means its
    newest run. Raises UnknownNameError, and UsageError where runs of several components have the name.
    """
    text = str(experiment)
    if (Path(text) / "run.json").is_file():
        return Path(text)
    if _ID.fullmatch(text):
        found = next(experiments().glob(f"*/{text}/run.json"), None)
        if found is not None:
            return found.parent
    kind, colon, name = text.rpartition(":")
    of = {folder: load(folder)["component"] for folder in run_folders(name)} if _NAME.fullmatch(name) else {}
    if colon and kind != "experiment":
        of = {folder: component for folder, component in of.items() if component == text}
    if not of:
        names = [path.name for path in experiments().glob("[!.]*")]
        raise UnknownNameError("experiment", text, names)
    if len(set(of.values())) > 1:
        got = ", ".join(sorted(set(of.values())))
        raise UsageError(f"experiment {text}", expected="runs of one component", got=got, remedy="name it")
    return next(iter(of))


def new_id(component: str) -> str:
    """A run id: UTC time and a random suffix, later in order than every run of ``component`` kept so far.

    A clock set back therefore never hides a new run behind an old one.
    """
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    previous = next(run_folders(component.partition(":")[2]), None)
    if previous is not None and previous.name.partition("-")[0] >= now:
        stamp = datetime.strptime(previous.name.partition("-")[0], "%Y%m%dT%H%M%S%f")
        now = datetime.fromtimestamp(stamp.replace(tzinfo=UTC).timestamp() + 1e-3, UTC).strftime(
            "%Y%m%dT%H%M%S%f"
        )
    return f"{now}-{secrets.token_hex(4)}"


def run_folders(name: str) -> Iterator[Path]:
    """Experiment folders of one name, the newest first."""
    folder = experiments() / name
    if folder.is_dir():
        yield from sorted((path for path in folder.iterdir() if _ID.fullmatch(path.name)), reverse=True)


class History:
    """The newest runs of ``component``, read as they are asked for and at most ``depth`` of them."""

    def __init__(self, component: str, depth: int = 20) -> None:
        self._unread = islice(_runs_of(component), depth)
        self._runs: list[dict[str, Any]] = []

    def last(self) -> dict[str, Any] | None:
        """``run.json`` of the newest readable run."""
        return next(iter(self), None)

    def last_step(self, step: str) -> tuple[str, dict[str, Any]] | None:
        """Run id and result of the newest run in which ``step`` was not skipped."""
        for run in self:
            for result in run["steps"]:
                if result["id"] == step and result["facets"] is not None:
                    return run["id"], result
        return None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        yield from self._runs
        for run in self._unread:
            self._runs.append(run)
            yield run


def _runs_of(component: str) -> Iterator[dict[str, Any]]:
    for folder in run_folders(component.partition(":")[2]):
        try:
            run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
            fits = run["component"] == component and run["schema"] == SCHEMA
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if fits:
            yield run
