"""What binaries said of themselves, remembered for as long as they are untouched."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holdfast.core.canonical import content_hash
from holdfast.core.errors import StorageError
from holdfast.core.paths import home, write_json
from holdfast.hub.component import Component
from holdfast.hub.detection.found import Found

_SCHEMA = "holdfast.detected/1"


@dataclass(frozen=True)
class Remembered:
    """What was found behind one name, and the stamp of the file behind it at that time."""

    stamp: str
    found: Found


@dataclass
class Memory:
    """Answers by the name that was asked, in a file of ``home()/detected/``; a damaged file is forgotten.

    Places are looked through anew each time: only what an unchanged file said, and its hash, is remembered.
    """

    file: Path
    plugin: str
    answers: dict[str, Remembered] = field(default_factory=dict)
    valid: bool = False

    @classmethod
    def of(cls, component: Component, inputs: dict[str, Any]) -> Memory:
        """What is remembered of ``component``; ``valid`` is false if the plugin itself has changed since."""
        suffix = f"-{content_hash(inputs)[:8]}" if inputs else ""
        file = home() / "detected" / f"{component.name}-{component.uid}{suffix}.json"
        memory = cls(file, component.hash)
        with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
            data = json.loads(file.read_text(encoding="utf-8"))
            if data["schema"] == _SCHEMA:
                memory.answers = {
                    name: Remembered(item["stamp"], Found.from_json(item["found"]))
                    for name, item in data["answers"].items()
                }
                memory.valid = data["plugin"] == memory.plugin
        return memory

    def replace(self, answers: dict[str, Remembered]) -> list[str]:
        """Keep ``answers`` instead, and say in words what differs. Nothing is kept where it cannot be."""
        notes = _differences(self.answers, answers)
        if answers != self.answers or not self.valid:
            items = {
                name: {"stamp": item.stamp, "found": item.found.to_json()} for name, item in answers.items()
            }
            with suppress(StorageError):
                write_json(self.file, {"schema": _SCHEMA, "plugin": self.plugin, "answers": items})
        return notes


def _differences(before: dict[str, Remembered], after: dict[str, Remembered]) -> list[str]:
    notes = []
    for name, old in before.items():
        new = after.get(name)
        since = f"since {old.found.detected}"
        if new is None:
            notes.append(f"{name} (version {old.found.version}) is gone or no longer answers, {since}")
        elif new.found.version != old.found.version:
            notes.append(f"{name} was version {old.found.version} and is {new.found.version}, {since}")
        elif new.found.binary_hash != old.found.binary_hash:
            notes.append(f"{name} has another content, {since}; its version is still {new.found.version}")
        elif new.found.path != old.found.path:
            notes.append(f"{name} meant {old.found.path} and means {new.found.path}, {since}")
    return notes
