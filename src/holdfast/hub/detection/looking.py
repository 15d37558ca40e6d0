"""One plugin's work: look everywhere it says, ask what is there, remember, and say what has changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from holdfast.hub.component import Component, described
from holdfast.hub.detection import places
from holdfast.hub.detection.asking import Asking
from holdfast.hub.detection.found import Found
from holdfast.hub.detection.interpreters import installed
from holdfast.hub.detection.memory import Memory, Remembered
from holdfast.hub.detection.places import Candidate
from holdfast.hub.detection.session import Session
from holdfast.hub.kinds import Detection, Soft


@dataclass
class Outcome:
    """What a detection came to.

    ``looked`` are the places, in words; ``problems`` what was there but did not answer as expected;
    ``notes`` what differs from the last time.
    """

    component: str
    found: list[Found] = field(default_factory=list)
    looked: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values."""
        found = [each.to_json() for each in self.found]
        return {**vars(self), "found": found}


def look(component: Component, inputs: Mapping[str, Any], session: Session, *, refresh: bool) -> Outcome:
    """Detect what ``component`` describes, with its ``inputs``. Raises ComponentError for a broken plugin."""
    detection = with_inputs(described(component, Soft).detect, inputs)
    memory = Memory.of(component, dict(inputs))
    asking = Asking(component, detection, None if refresh else memory, session.sandbox)
    return _Look(asking, session, Outcome(component.id)).run(memory)


def with_inputs(detection: Detection, inputs: Mapping[str, Any]) -> Detection:
    """``detection`` with each ``{inputs.NAME}`` replaced by its value."""

    def filled(value: Any) -> Any:
        if isinstance(value, str):
            for name, given in inputs.items():
                value = value.replace(f"{{inputs.{name}}}", str(given))
            return value
        if isinstance(value, dict):
            return {key: filled(item) for key, item in value.items()}
        return [filled(item) for item in value] if isinstance(value, list) else value

    return Detection.model_validate(filled(detection.model_dump())) if inputs else detection


@dataclass
class _Look:
    asking: Asking
    session: Session
    outcome: Outcome
    answers: dict[str, Remembered] = field(default_factory=dict)
    merged: dict[object, Found] = field(default_factory=dict)

    def run(self, memory: Memory) -> Outcome:
        detection = self.asking.detection
        own, words = places.folders(detection.paths), _words(detection.paths)
        if detection.binaries:
            path = places.path_folders()
            known = {folder.resolve() for folder in path}
            where = path + [folder for folder in own if folder.resolve() not in known]
            self._ask(places.binaries(detection.binaries, where), is_file=False)
            self.outcome.looked.append(f"{_words(detection.binaries)} on PATH and in {words}")
        if detection.files:
            self._ask(places.files(detection.files, own), is_file=True)
            self.outcome.looked.append(f"{_words(detection.files)} in {words}")
        if detection.python:
            self._distributions()
        if not (detection.binaries or detection.files or detection.python):
            self.outcome.looked.append(f"by {detection.hook}")
            self._add("hook", "hook", *self.asking.hook())
        self.outcome.found = list(self.merged.values())
        self.outcome.notes = memory.replace(self.answers)
        return self.outcome

    def _ask(self, candidates: list[Candidate], *, is_file: bool) -> None:
        asked = self.session.map(partial(self.asking.candidate, is_file=is_file), candidates)
        path_is_read = "(?P<path>" in (self.asking.detection.pattern or "")
        for candidate, (answer, problem) in zip(candidates, asked, strict=True):
            key: object = None
            if answer is not None:
                # Several files of one version in one folder (header, library) are one installation.
                place = candidate.folder if is_file else candidate.real
                found = answer.found
                named = path_is_read or found.path != candidate.path
                key = found.path if named else (place, found.version)
            self._add(str(candidate.path), key, answer, problem)

    def _distributions(self) -> None:
        paths, names = self.session.search_paths(), self.asking.detection.python
        for interpreter, path in paths.items():
            for item in installed(interpreter, path, names):
                name = f"{interpreter}: {item.name}"
                try:
                    self._add(name, name, self.asking.distribution(item), "")
                except OSError as error:
                    self._add(name, name, None, str(error))
        there = f"{len(paths)} Python interpreter{'' if len(paths) == 1 else 's'}"
        self.outcome.looked.append(f"{_words(names)} in {there}: {_words(map(str, paths))}")

    def _add(self, name: str, key: object, answer: Remembered | None, problem: str) -> None:
        if answer is None:
            self.outcome.problems.append(f"{name}: {problem}")
            return
        self.answers[name], found = answer, answer.found
        known = self.merged.setdefault(key, found)
        if known is not found:
            also = dict.fromkeys([*known.also, str(found.path), *found.also])
            also.pop(str(known.path), None)
            self.merged[key] = replace(known, also=tuple(also))


def _words(items: Iterable[str]) -> str:
    return ", ".join(items) or "no further folder"
