"""Which Python distributions a component runs on: Holdfast, what its files import, what those require."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from holdfast.core.environment import REPORTED_PACKAGES


def distributions(folders: Iterable[Path]) -> dict[str, str]:
    """Versions by name: Holdfast, what its numbers rest on, and what Python files in ``folders`` import.

    With everything that these require in turn; what is not installed is left out.
    """
    imported = {name for folder in folders for file in folder.rglob("*.py") for name in _imports(file)}
    foreign = imported - set(sys.stdlib_module_names) - {"holdfast"}
    owners = packages_distributions() if foreign else {}
    names = ["holdfast", *REPORTED_PACKAGES, *(owner for name in foreign for owner in owners.get(name, ()))]
    found: dict[str, str] = {}
    while names:
        name = canonicalize_name(names.pop())
        if name in found:
            continue
        with suppress(PackageNotFoundError):
            there = distribution(name)
            found[name] = there.version
            names += _required(there.requires or [])
    return dict(sorted(found.items()))


def version_of(name: str) -> str | None:
    """The installed version of a distribution; None if it is not installed."""
    try:
        return distribution(name).version
    except PackageNotFoundError:
        return None


def _required(requirements: Iterable[str]) -> list[str]:
    """Names that apply here, without those of extras."""
    names = []
    for text in requirements:
        with suppress(InvalidRequirement):
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                names.append(requirement.name)
    return names


def _imports(file: Path) -> set[str]:
    """Top-level names that a Python file imports, wherever in it; none if it cannot be read."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return set()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.partition(".")[0])
    return names
