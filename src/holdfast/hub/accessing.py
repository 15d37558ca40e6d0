"""One call for everything, in the JSON shape of CK: ``access({"action": …, …})`` → ``{"return": 0, …}``.

The same typed functions as everywhere; only the shape differs. A verb is registered by one line in
``ACTIONS``: the keys it takes and a function of a ``Request``, imported on first use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from holdfast.core.errors import HoldfastError, UsageError
from holdfast.hub.component import Component
from holdfast.hub.experiment_access import CONDITIONS

_NAMES: Final = {
    "module_uoa": "kind",
    "data_uoa": "name",
    "repo_uoa": "repository",
    "cid": "component",
}
"""CK's names for what we call otherwise; both are understood."""

_ALIASES: Final = {
    "load": "show",
    "find": "show",
    "ls": "list",
    "add": "new",
    "rm": "remove",
    "delete": "remove",
}


@dataclass(frozen=True)
class Request:
    """What is asked for: the values by our names, and the component that they mean, if they mean one."""

    values: Mapping[str, Any]

    @property
    def spec(self) -> str:
        """``[repository:]kind:name[@versions]``. Raises UsageError if kind or name are missing."""
        given = self.values
        if "component" in given:
            return str(given["component"])
        if "kind" not in given or "name" not in given:
            raise UsageError("access", expected="'component', or 'kind' and 'name'", got=f"{sorted(given)}")
        repository = f"{given['repository']}:" if given.get("repository") else ""
        versions = f"@{given['versions']}" if given.get("versions") else ""
        return f"{repository}{given['kind']}:{given['name']}{versions}"

    def get(self, name: str, kind: type, default: Any = None) -> Any:
        """The value ``name``, which must be a ``kind``. Raises UsageError."""
        value = self.values.get(name, default)
        if value is not None and not isinstance(value, kind):
            raise UsageError(f"access: {name}", expected=f"a {kind.__name__}", got=repr(value))
        return value

    def path(self, name: str) -> Path | None:
        """The value ``name`` as a path, if it is given."""
        value = self.get(name, str)
        return None if value is None else Path(value).expanduser()


@dataclass(frozen=True)
class Action:
    """A verb: the function (``module:name``) that answers a Request with a dictionary, and its keys."""

    function: str
    keys: tuple[str, ...] = ()


_COMPONENT: Final = ("component", "kind", "name", "repository", "versions")
_HERE: Final = "holdfast.hub.accessing"
_RECORDED: Final = "holdfast.hub.experiment_access"
ACTIONS: Final = {
    "list": Action(f"{_HERE}:_list", ("kind",)),
    "search": Action(f"{_HERE}:_search", ("text", "kind", "tags")),
    "show": Action(f"{_HERE}:_show", _COMPONENT),
    "validate": Action(f"{_HERE}:_validate", ("path",)),
    "test": Action(f"{_HERE}:_test", _COMPONENT),
    "new": Action(f"{_HERE}:_new", (*_COMPONENT, "to")),
    "remove": Action(f"{_HERE}:_remove", (*_COMPONENT,)),
    "publish": Action(f"{_HERE}:_publish", (*_COMPONENT, "components", "to")),
    "pull": Action(f"{_HERE}:_pull", ("origin", "url", "name", "hash", "consent")),
    "run": Action(f"{_HERE}:_run", (*_COMPONENT, "inputs", "out", "force")),
    "act": Action(f"{_HERE}:_act", (*_COMPONENT, "do", "inputs", "out")),
    "detect": Action("holdfast.hub.detection.answering:answer", (*_COMPONENT, "inputs", "refresh")),
    "explain": Action(f"{_HERE}:_explain", (*_COMPONENT, "inputs")),
    "query": Action(f"{_RECORDED}:query", CONDITIONS),
    "experiments": Action(f"{_RECORDED}:experiments", ("experiment", "component", "since")),
    "replay": Action(f"{_RECORDED}:replay", ("experiment", "margins", "inputs", "across_platforms", "lock")),
    "export": Action(f"{_RECORDED}:export", ("experiment", "to", "out", "every_run", "copy")),
    "install": Action(
        "holdfast.hub.packages.access:install",
        (*_COMPONENT, "dry_run", "offline", "from", "accept", "software"),
    ),
    "lock": Action("holdfast.hub.packages.access:lock", (*_COMPONENT, "inputs", "out", "software")),
}


def access(request: Mapping[str, Any]) -> dict[str, Any]:
    """Do what ``request`` asks: its ``action`` and that action's keys, by our names or CK's.

    Returns ``{"return": 0, …}``, or ``{"return": code, "error": message}`` with the exit code that the
    command line would end with. An unknown action or key, and a key given under two names, are errors. Never
    raises a HoldfastError.
    """
    try:
        action, values = _read(request)
        module, _, name = action.function.partition(":")
        answer: dict[str, Any] = getattr(import_module(module), name)(Request(values))
        return {"return": 0, **answer}
    except HoldfastError as error:
        return {"return": error.exit_code, "error": str(error), "type": type(error).__name__}


def _read(request: Mapping[str, Any]) -> tuple[Action, dict[str, Any]]:
    if not isinstance(request, Mapping):
        raise UsageError("access", expected="a dictionary", got=type(request).__name__)
    verb = request.get("action")
    verb = _ALIASES.get(str(verb), str(verb))
    if verb not in ACTIONS:
        raise _unknown("action", verb, [*ACTIONS, *_ALIASES])
    action = ACTIONS[verb]
    # CK puts pulling under its module ``repo``.
    given = {key: value for key, value in request.items() if key != "action"}
    if verb == "pull" and given.get("module_uoa") == "repo":
        del given["module_uoa"]
    values: dict[str, Any] = {}
    for key, value in given.items():
        name = _NAMES.get(key, key)
        if name not in action.keys:
            raise _unknown(f"key of action {verb!r}", key, action.keys)
        if name in values:
            raise UsageError(f"access: {name}", expected="one value", got=f"two, one as {key!r}")
        values[name] = value
    return action, values


def _unknown(what: str, name: str, known: Any) -> UsageError:
    close = get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else None
    return UsageError(f"access: unknown {what} {name!r}", expected=f"one of {', '.join(known)}", remedy=hint)


def described(component: Component) -> dict[str, Any]:
    """A component by CK's names (``data_uoa``, ``data_uid``, ``path``…); ``dict`` is its description."""
    return {
        "data_uoa": component.name,
        "data_uid": component.uid,
        "module_uoa": component.kind,
        "repo_uoa": component.repository,
        "path": str(component.folder),
        "dict": component.to_json(),
    }


def _list(request: Request) -> dict[str, Any]:
    from holdfast.hub.repository import list_components

    return {"lst": [described(component) for component in list_components(request.get("kind", str))]}


def _search(request: Request) -> dict[str, Any]:
    from holdfast.hub.repository import search

    tags = request.values.get("tags", [])
    wanted = tags.split(",") if isinstance(tags, str) else tags
    if not isinstance(wanted, list) or not all(isinstance(tag, str) for tag in wanted):
        raise UsageError("access: tags", expected="a list of tags", got=repr(tags))
    found = search(request.get("text", str, ""), kind=request.get("kind", str), tags=filter(None, wanted))
    return {"lst": [described(component) for component in found]}


def _show(request: Request) -> dict[str, Any]:
    from holdfast.hub.repository import find

    return described(find(request.spec))


def _validate(request: Request) -> dict[str, Any]:
    from holdfast.core.errors import ComponentError
    from holdfast.hub.validation import validate

    path = request.path("path")
    if path is None:
        raise UsageError("access: path", expected="a component or a repository", got="none")
    problems = [str(problem) for problem in validate(path)]
    if problems:
        raise ComponentError(f"{path} is not valid", got="\n  " + "\n  ".join(problems))
    return {"path": str(path), "problems": []}


def _test(request: Request) -> dict[str, Any]:
    from holdfast.hub.checking import outcome

    return outcome(request.spec)


def _new(request: Request) -> dict[str, Any]:
    from holdfast.hub.creating import new_component

    return described(new_component(request.spec, repository=request.path("to")))


def _remove(request: Request) -> dict[str, Any]:
    from holdfast.hub.sharing import remove

    values = request.values
    whole = set(values) == {"repository"} or set(values) == {"name"}
    spec = str(values.get("repository") or values.get("name")) if whole else request.spec
    return {"removed": spec, "path": str(remove(spec))}


def _publish(request: Request) -> dict[str, Any]:
    from holdfast.hub.sharing import publish_components

    specs = request.get("components", list) or [request.spec]
    to = request.path("to")
    if to is None:
        raise UsageError("access: to", expected="a repository or a .zip", got="none")
    return publish_components([str(spec) for spec in specs], to).to_json()


def _pull(request: Request) -> dict[str, Any]:
    from holdfast.hub.pulling import pull

    origin = request.values.get("origin") or request.values.get("url") or request.values.get("name")
    if not isinstance(origin, str):
        raise UsageError("access: origin", expected="a folder, an archive or a git address", got=repr(origin))
    name = request.get("name", str) if origin != request.values.get("name") else None
    digest = request.get("hash", str)
    return pull(origin, name=name, digest=digest, consent=request.get("consent", bool, False)).to_json()


def _run(request: Request) -> dict[str, Any]:
    from holdfast.hub.runner import run

    force = request.get("force", bool, False)
    done = run(request.spec, request.get("inputs", dict, {}), out=request.path("out"), force=force)
    return {**done.to_json(), "experiment": str(done.folder)}


def _act(request: Request) -> dict[str, Any]:
    from holdfast.hub.custom import act

    inputs = request.get("inputs", dict, {})
    done = act(request.spec, request.get("do", str, ""), inputs, out=request.path("out"))
    return {**done.to_json(), "experiment": str(done.folder)}


def _explain(request: Request) -> dict[str, Any]:
    from holdfast.hub.explanation import explain
    from holdfast.hub.repository import find

    steps = explain(find(request.spec), request.get("inputs", dict, {}))
    return {"steps": [step.to_json() for step in steps]}
