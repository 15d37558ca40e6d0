"""One candidate's turn: what is remembered of it, or what it says when asked now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from holdfast.core.canonical import hash_file
from holdfast.hub.component import Component
from holdfast.hub.detection.found import Found, stamp
from holdfast.hub.detection.hook import call_hook
from holdfast.hub.detection.interpreters import Installed
from holdfast.hub.detection.memory import Memory, Remembered
from holdfast.hub.detection.places import Candidate
from holdfast.hub.detection.sandbox import Sandbox
from holdfast.hub.detection.versions import Reading, read_file, read_text
from holdfast.hub.kinds import Detection

DEFAULT_PATTERN = r"(?P<version>\d+(?:\.\d+)+)"
HOOK_ALONE = Candidate(Path(), Path(), Path(), "by its hook")


@dataclass(frozen=True)
class Asking:
    """Asks for ``component``; its ``detection`` has the inputs filled in, ``memory`` is None to ask anew."""

    component: Component
    detection: Detection
    memory: Memory | None
    sandbox: Sandbox

    def candidate(self, candidate: Candidate, *, is_file: bool) -> tuple[Remembered | None, str]:
        """What is behind a binary or a file (or folder), or why nothing is known of it."""
        try:
            now = stamp(candidate.real)
            known = None if candidate.proxy else self._known(str(candidate.path), now)
            if known is not None:
                return Remembered(now, replace(known, also=_others(candidate.also, known.path))), ""
            found, problem = self._read(candidate, is_file)
        except OSError as error:
            return None, error.strerror or str(error)
        return (None if found is None else Remembered(now, found)), problem

    def distribution(self, item: Installed) -> Remembered:
        """A Python distribution in one interpreter. Raises OSError if it vanishes meanwhile."""
        now = stamp(item.record)
        known = self._known(f"{item.interpreter}: {item.name}", now)
        how = f"{item.name} in {item.record.parent.parent}"
        environment = self.detection.environment
        found = known or self._made(item.version, item.interpreter, item.record, environment, how)
        return Remembered(now, found)

    def hook(self) -> tuple[Remembered | None, str]:
        """What a plugin finds that has nothing but a hook."""
        try:
            found, problem = self._found(HOOK_ALONE, None, "")
        except OSError as error:
            return None, str(error)
        return (None if found is None else Remembered(found.stamp, found)), problem

    def _known(self, name: str, now: str) -> Found | None:
        known = self.memory.answers.get(name) if self.memory is not None and self.memory.valid else None
        return known.found if known is not None and known.stamp == now else None

    def _read(self, candidate: Candidate, is_file: bool) -> tuple[Found | None, str]:
        detection = self.detection
        pattern = detection.pattern or DEFAULT_PATTERN
        if is_file or not detection.command:
            return self._found(candidate, read_file(pattern, candidate.real), candidate.real.name)
        command = [word.replace("{binary}", str(candidate.path)) for word in detection.command]
        answer = self.sandbox.ask(command, timeout=detection.timeout_s)
        if answer.problem is not None:
            return None, answer.problem
        return self._found(candidate, read_text(pattern, answer.text), answer.text)

    def _found(self, candidate: Candidate, read: Reading | None, text: str) -> tuple[Found | None, str]:
        version = read.version if read is not None else ""
        path = read.path if read is not None and read.path is not None else candidate.path
        environment: dict[str, str] = dict(self.detection.environment)
        if self.detection.hook and (version or not self.detection.pattern):
            given = {"path": str(path), "real": str(candidate.real), "text": text, "version": version}
            said, problem = self._said(given)
            if problem:
                return None, problem
            version, path = str(said.get("version") or ""), Path(said.get("path", path))
            environment |= {str(name): str(value) for name, value in said.get("environment", {}).items()}
        if not version:
            first = text.strip().splitlines()[:1] or [""]
            return None, f"no version in {first[0][:120]!r}"
        if path != candidate.path and not path.exists():
            return None, f"it names {path}, which does not exist"
        real = path.resolve() if path != candidate.path else candidate.real
        return self._made(version, path, real, environment, candidate.how, candidate.also), ""

    def _said(self, given: Mapping[str, str]) -> tuple[dict[str, Any], str]:
        answer, problem = call_hook(
            self.component.folder,
            self.detection.hook or "",
            given,
            sandbox=self.sandbox,
            timeout=self.detection.timeout_s,
        )
        if problem is not None:
            return {}, problem
        said = {"version": answer} if isinstance(answer, str) else answer or {}
        fits = isinstance(said, dict) and isinstance(said.get("environment", {}), dict)
        if not fits or not set(said) <= {"version", "path", "environment"}:
            return {}, "hook: neither a version nor a dictionary of version, path and environment"
        return said, ""

    def _made(
        self,
        version: str,
        path: Path,
        real: Path,
        environment: Mapping[str, str],
        how: str,
        also: list[str] | None = None,
    ) -> Found:
        values = {"{binary}": str(path), "{folder}": str(path.parent), "{version}": version}
        filled = dict(environment)
        for placeholder, value in values.items():
            filled = {name: text.replace(placeholder, value) for name, text in filled.items()}
        return Found(
            component=self.component.id,
            version=version,
            path=path,
            binary_hash=hash_file(real) if real.is_file() else None,
            environment=filled,
            detected=datetime.now(UTC).isoformat(timespec="seconds"),
            how=how,
            real=real,
            also=_others(also or [], path),
            stamp=stamp(real),
        )


def _others(names: list[str], path: Path) -> tuple[str, ...]:
    return tuple(name for name in names if name != str(path))
