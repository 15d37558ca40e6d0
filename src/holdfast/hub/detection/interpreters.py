"""Distributions that Python interpreters have, whichever interpreter it is, without importing any of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path

from holdfast.hub.detection.sandbox import Sandbox

_ASK = "import json, sys; print(json.dumps([p for p in sys.path if p]))"


@dataclass(frozen=True)
class Installed:
    """A distribution as an interpreter would import it, and the file that stands for its content."""

    interpreter: Path
    name: str
    version: str
    record: Path


def search_path(interpreter: Path, sandbox: Sandbox, timeout: float) -> list[str]:
    """Folders in which ``interpreter`` finds modules; none if it does not say."""
    answer = sandbox.ask([str(interpreter), "-c", _ASK], timeout=timeout)
    with suppress(ValueError, IndexError, TypeError):
        found = json.loads(answer.text.strip().splitlines()[-1])
        return [str(entry) for entry in found] if answer.problem is None else []
    return []


def installed(interpreter: Path, path: Iterable[str], names: Iterable[str]) -> list[Installed]:
    """The distributions of ``names`` on an interpreter's search ``path``, the first of each name."""
    found = []
    for name in names:
        for distribution in distributions(name=name, path=list(path)):
            record = _record(distribution)
            if record is not None and distribution.version:
                title = distribution.metadata["Name"] or name
                found.append(Installed(interpreter, title, distribution.version, record))
                break
    return found


def _record(distribution: Distribution) -> Path | None:
    for name in ("RECORD", "METADATA", "PKG-INFO"):
        # The folder of the metadata is not part of the interface; the files in it are found from there.
        base = getattr(distribution, "_path", None)
        if base is not None and (Path(base) / name).is_file():
            return Path(base) / name
    return None
