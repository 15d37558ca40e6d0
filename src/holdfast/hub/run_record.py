"""What a run leaves behind: one result a step, all records, and the experiment that holds them."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal

from holdfast.core import environment
from holdfast.core.paths import atomic_folder, home, write_json
from holdfast.core.result import Record, write_records

SCHEMA: Final = "holdfast.run/1"
_ID = re.compile(r"\d{8}T\d{12}-[0-9a-f]{8}")
StepStatus = Literal["hit", "ran", "skipped", "failed", "interrupted"]
RunStatus = Literal["ok", "failed", "interrupted"]


@dataclass
class StepResult:
    """One step of a run. ``reasons`` say why it hit or missed; ``made`` is when its result was measured."""

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

    @property
    def hit(self) -> bool:
        """Whether the result came from the cache."""
        return self.status == "hit"


@dataclass
class Run:
    """One run of a component: what went in, what each step did, what was measured, where it is kept."""

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
        }

    def write(self, folder: Path) -> None:
        """Write ``run.json`` and ``records.jsonl`` into ``folder``. Raises StorageError."""
        write_records(folder / "records.jsonl", self.records)
        write_json(folder / "run.json", self.to_json())


def save(run: Run) -> Path:
    """Keep ``run`` as an experiment, whole or not at all; return its folder. Raises StorageError."""
    target = experiments() / run.component.partition(":")[2] / run.id
    with atomic_folder(target) as staging:
        run.write(staging)
    run.folder = target
    return target


def experiments() -> Path:
    """Folder of all experiments: ``<name>/<run id>/``."""
    return home() / "experiments"


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
