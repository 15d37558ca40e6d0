"""Kinds of a project's own: what their components must hold, and what can be done with them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from holdfast.core.errors import ComponentError, UnknownNameError, UsageError
from holdfast.hub.component import Component, described
from holdfast.hub.kinds import Custom, KindDefinition
from holdfast.hub.repository import find
from holdfast.hub.run_record import Run

COMPONENT_INPUT = "component"
"""The input by which an action's program gets the folder of the component that it is about."""


def definition(component: Component, *, project: Path | None = None) -> Component:
    """The kind of a ``Custom`` component. Raises ComponentError if nobody defines it."""
    described(component, Custom)
    try:
        return find(f"kind:{component.kind}", project=project or component.root)
    except UnknownNameError as error:
        raise ComponentError(
            f"{component.id} ({component.folder})",
            expected=f"a kind {component.kind!r} in kind/{component.kind}/component.json",
            got="none",
        ) from error


def check_fields(component: Component, *, project: Path | None = None) -> None:
    """Raise ComponentError unless the component's ``fields`` are what its kind's JSON Schema asks for."""
    meta = described(component, Custom)
    kind = described(definition(component, project=project), KindDefinition)
    wrong = schema_errors(kind.fields, meta.fields)
    if wrong:
        raise ComponentError(f"{component.id} ({component.folder}): fields", got="; ".join(wrong))


def schema_errors(schema: Mapping[str, Any], value: Any) -> list[str]:
    """What is wrong with ``value`` by a JSON Schema; or with the schema itself. References stay inside it."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    try:
        Draft202012Validator.check_schema(schema)
        found = Draft202012Validator(schema, registry=Registry()).iter_errors(
            value
        )  # an empty one: no network
        return [f"{'.'.join(map(str, item.absolute_path)) or 'fields'}: {item.message}" for item in found]
    except SchemaError as error:
        return [f"no JSON Schema: {error.message}"]
    except Unresolvable as error:
        return [f"the JSON Schema refers to what it does not hold: {error}"]


def act(
    component: Component | str,
    action: str,
    inputs: Mapping[str, Any] | None = None,
    *,
    out: Path | None = None,
    project: Path | None = None,
) -> Run:
    """Do what the component's kind calls ``action``: run its program on the component's folder.

    Raises UsageError for a component of a built-in kind, UnknownNameError for an action its kind does not
    have, and what running a program raises.
    """
    from holdfast.hub.runner import run

    found = find(component, project=project) if isinstance(component, str) else component
    if not isinstance(found.meta, Custom):
        raise UsageError(
            found.id, expected="a component of a project's own kind", got=f"one of kind {found.kind}"
        )
    kind = definition(found, project=project)
    actions = described(kind, KindDefinition).actions
    if action not in actions:
        raise UnknownNameError(f"action of kind:{found.kind}", action, actions)
    program = find(actions[action], project=project or kind.root)
    return run(program, {**(inputs or {}), COMPONENT_INPUT: str(found.folder)}, out=out, project=project)
