"""Pulled repositories: where they lie, what they hold, and what of them may run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationError

from holdfast.core.errors import ComponentError
from holdfast.core.paths import home, write_json
from holdfast.hub.component import Component
from holdfast.hub.inputs import Model
from holdfast.hub.kinds import NAME

DESCRIPTION: Final = "repository.json"
RUNNABLE: Final = ("program", "soft", "package")
"""Kinds whose components start processes: entries, version commands and hooks, install steps."""


class Consent(Model):
    """Who allowed what to run, and when: the content hash of every component, by ``<kind>/<name>``."""

    who: str
    when: str
    components: dict[str, str]


class Pulled(Model):
    """A pulled repository: its origin, the content hash that names its folder, and the consent given.

    ``revision`` is the commit of a git origin; ``previous`` the content before the last update, kept for what
    still runs from it.
    """

    schema_: Literal["holdfast.repository/1"] = Field(alias="schema", default="holdfast.repository/1")
    name: Annotated[str, Field(pattern=NAME)]
    origin: str
    hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    pulled: str
    revision: str | None = None
    previous: str | None = None
    consent: Consent | None = None

    @property
    def folder(self) -> Path:
        """The folder of this repository and its description."""
        return repos() / self.name

    @property
    def root(self) -> Path:
        """The folder of its components."""
        return self.folder / self.hash

    def save(self) -> None:
        """Write the description; from then on the repository is what it says. Raises StorageError."""
        write_json(self.folder / DESCRIPTION, self.model_dump(mode="json", by_alias=True))


def repos() -> Path:
    """The folder of all pulled repositories."""
    return home().resolve() / "repos"


def read_all() -> tuple[list[Pulled], list[ComponentError]]:
    """All pulled repositories by name, and one error for each whose description cannot be read."""
    found, problems = [], []
    for file in sorted(repos().glob(f"[!.]*/{DESCRIPTION}")):
        try:
            found.append(_read(file))
        except ComponentError as error:
            problems.append(error)
    return found, problems


def find_pulled(name: str) -> Pulled | None:
    """The pulled repository ``name``, if there is one. Raises ComponentError for one that is damaged."""
    file = repos() / name / DESCRIPTION
    return _read(file) if file.is_file() else None


def require_consent(component: Component) -> None:
    """Raise ComponentError unless ``component`` may run: it was not pulled, or its content was consented to.

    What counts is where it lies, whatever the repository is called.
    """
    if not component.folder.is_relative_to(repos()):
        return
    name, *inside = component.folder.relative_to(repos()).parts
    pulled = find_pulled(name)
    consent = pulled.consent if pulled is not None else None
    place = "/".join(inside[1:])
    if consent is None or pulled is None:
        got = "no consent"
    elif inside[0] != pulled.hash and component.hash not in consent.components.values():
        got = "content of an earlier pull"
    elif consent.components.get(place) != component.hash and inside[0] == pulled.hash:
        got = f"other content than was consented to on {consent.when}"
    else:
        return
    state = f" --hash sha256:{pulled.hash}" if pulled is not None and consent is None else ""
    raise ComponentError(
        f"{component.id} of the pulled repository {name!r} must not run yet",
        expected="your consent to the code in it",
        got=got,
        remedy=f"read it in {component.folder}, then: holdfast pull {name}{state} --yes",
    )


def _read(file: Path) -> Pulled:
    try:
        pulled = Pulled.model_validate(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        raise ComponentError(
            str(file),
            expected="the description of a pulled repository",
            got=str(error),
            remedy="pull it again",
        ) from error
    if pulled.name != file.parent.name:
        raise ComponentError(str(file), expected=f"the name {file.parent.name!r}", got=repr(pulled.name))
    return pulled
