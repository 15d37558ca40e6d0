"""Detection of one component, or of all that there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from holdfast.core.errors import HoldfastError
from holdfast.hub import repository, values
from holdfast.hub.component import Component
from holdfast.hub.detection.found import Found
from holdfast.hub.detection.looking import Outcome, look
from holdfast.hub.detection.session import WORKERS, Session
from holdfast.hub.pulled import require_consent

PYTHON = "soft:python"


def detect(
    component: Component | str,
    *,
    refresh: bool = False,
    inputs: Mapping[str, Any] | None = None,
    pythons: Sequence[Path] | None = None,
) -> list[Found]:
    """All installations that ``component`` (kind ``soft``) describes; ``outcome`` tells more."""
    return outcome(component, refresh=refresh, inputs=inputs, pythons=pythons).found


def outcome(
    component: Component | str,
    *,
    refresh: bool = False,
    inputs: Mapping[str, Any] | None = None,
    pythons: Sequence[Path] | None = None,
) -> Outcome:
    """Detect ``component``: what was found, where was looked, what did not answer, and what has changed.

    What an unchanged binary said before is remembered, unless ``refresh``. ``inputs`` are the plugin's own;
    distributions are looked for in ``pythons``, or in all interpreters that ``soft:python`` finds. Raises
    UnknownNameError, UsageError for wrong inputs, ComponentError for a plugin without consent or broken.
    """
    found = repository.find(component) if isinstance(component, str) else component
    require_consent(found)
    given = _values(found, inputs or {})
    with _session(pythons, refresh) as session:
        made = _looked(found, given, session, refresh)
        return replace(made, notes=made.notes + session.notes)


def outcome_of_all(*, refresh: bool = False, pythons: Sequence[Path] | None = None) -> list[Outcome]:
    """Detect with every plugin of all repositories, several at once; a broken one is an outcome, too."""
    components = {each.id: each for each in reversed(repository.list_components("soft"))}

    def one(component: Component) -> Outcome:
        try:
            require_consent(component)
            given = _values(component, {})
            return _looked(component, given, session, refresh)
        except HoldfastError as error:
            return Outcome(component.id, problems=[str(error)])

    with _session(pythons, refresh) as session, ThreadPoolExecutor(WORKERS) as pool:
        return list(pool.map(one, (components[name] for name in sorted(components))))


def _session(pythons: Sequence[Path] | None, refresh: bool) -> Session:
    def default(session: Session) -> Iterable[Path]:
        python = _looked(repository.find(PYTHON), {}, session, refresh)
        session.notes += python.notes
        return [found.path for found in python.found]

    return Session(default if pythons is None else lambda _: [path.absolute() for path in pythons])


def _looked(component: Component, inputs: Mapping[str, Any], session: Session, refresh: bool) -> Outcome:
    name = f"{component.folder} {dict(inputs)}"
    if component.id != PYTHON:  # which all that look for Python packages wait for
        return look(component, inputs, session, refresh=refresh)
    return session.once(name, lambda: look(component, inputs, session, refresh=refresh))


def _values(component: Component, given: Mapping[str, Any]) -> dict[str, Any]:
    checked = values.coerce(component.inputs, given, component.id)
    return values.complete(component.inputs, checked, component.id, component.folder)
