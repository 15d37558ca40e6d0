"""Pulling a repository: brought here, hashed, shown, and switched to in one rename; nothing of it runs."""

from __future__ import annotations

import fcntl
import getpass
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from holdfast.core.canonical import hash_tree
from holdfast.core.errors import ComponentError, DataError, UsageError
from holdfast.core.paths import storage_errors
from holdfast.hub import foreign, index, origins
from holdfast.hub.component import Component
from holdfast.hub.kinds import NAME, Soft
from holdfast.hub.pulled import RUNNABLE, Consent, Pulled, find_pulled, repos
from holdfast.hub.repository import Repository

RESERVED = ("project", "user", "built-in")


@dataclass(frozen=True)
class Contents:
    """What a pull brings: the repository, its components, those that may run code, and the difference.

    ``added``, ``removed`` and ``changed`` are components (``kind:name version``) against what was pulled
    before; ``problems`` are descriptions that cannot be read, names and UIDs that others have already.
    """

    pulled: Pulled
    components: list[Component]
    problems: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)

    @property
    def runnable(self) -> list[Component]:
        """Components that start processes once there is consent."""
        return [component for component in self.components if may_run(component)]

    def to_json(self) -> dict[str, Any]:
        """What was pulled, for display."""
        return {
            "repository": self.pulled.name,
            "origin": self.pulled.origin,
            "revision": self.pulled.revision,
            "hash": f"sha256:{self.pulled.hash}",
            "folder": str(self.pulled.root),
            "consent": self.pulled.consent is not None,
            "components": [f"{component.id}@{component.version}" for component in self.components],
            "may_run_code": [component.id for component in self.runnable],
            "added": self.added,
            "removed": self.removed,
            "changed": self.changed,
            "problems": self.problems,
        }


Ask = Callable[[Contents], bool]


def pull(
    origin: str,
    *,
    name: str | None = None,
    digest: str | None = None,
    consent: bool | Ask = False,
    timeout_s: float = origins.TIMEOUT_S,
) -> Contents:
    """Pull the repository at ``origin``: a folder, an archive, a git address, or a name pulled before.

    Its content hash must be ``digest`` (``sha256:…``) where that is given. ``consent`` says whether what it
    holds may run: yes, no, or a function that is shown what has come. A repository without consent is kept,
    listed and never run; one whose content did not change keeps its consent. A failed pull changes nothing.
    Raises UsageError, DataError for another hash or for content that must not be there, StorageError.
    """
    wanted = _digest(digest)
    again = find_pulled(origin) if re.fullmatch(NAME, origin) and not Path(origin).exists() else None
    if again is not None and name not in (None, again.name):
        raise UsageError("--name", expected=again.name, got=repr(name), remedy="give the origin")
    name = again.name if again else _name(name, origin)
    with _lock(name):
        before = find_pulled(name)
        if before is not None and again is not None and wanted == before.hash and before.root.is_dir():
            _refuse_damaged(before)
            return _settle(_contents(before, before), consent)  # to what is here and was looked at
        new = _arrive(again.origin if again else origin, name, before, wanted, timeout_s)
        try:
            _refuse_damaged(new)
            return _settle(_contents(new, before), consent)
        except BaseException:
            if before is None or new.hash not in (before.hash, before.previous):
                shutil.rmtree(new.root, ignore_errors=True)
            raise


def _arrive(origin: str, name: str, before: Pulled | None, wanted: str | None, timeout_s: float) -> Pulled:
    """Bring ``origin`` to the folder that its content hash names; the description is not written yet."""
    staging = repos() / name / f".{secrets.token_hex(8)}"
    with storage_errors(staging):
        staging.mkdir(parents=True)
    try:
        revision = origins.bring(origin, staging, timeout_s=timeout_s)
        digest = hash_tree(staging)
        if wanted is not None and digest != wanted:
            raise DataError(origin, expected=f"content sha256:{wanted}", got=f"sha256:{digest}")
        local = Path(origin).expanduser()
        same = before is not None and before.hash == digest
        new = Pulled(
            name=name,
            origin=str(local.resolve()) if local.exists() else origin,
            hash=digest,
            pulled=_now(),
            revision=revision,
            previous=None if before is None else before.previous if same else before.hash,
            consent=before.consent if before is not None and same else None,
        )
        with storage_errors(new.root):
            if not new.root.exists():
                staging.rename(new.root)
        return new
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def _lock(name: str) -> Iterator[None]:
    """Held while the repository ``name`` changes: two pulls of one name come one after the other."""
    path = repos() / f".{name}.lock"
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def may_run(component: Component) -> bool:
    """Whether ``component`` starts processes: what asks a program for its version does too."""
    if isinstance(component.meta, Soft):
        return bool(component.meta.detect.command or component.meta.detect.hook)
    return component.kind in RUNNABLE


def _settle(contents: Contents, consent: bool | Ask) -> Contents:
    """Ask for consent, and make what was brought the repository of its name."""
    pulled = contents.pulled
    if pulled.consent is None and (consent(contents) if callable(consent) else consent):
        allowed = {
            component.folder.relative_to(pulled.root).as_posix(): component.hash
            for component in contents.components
        }
        given = Consent(who=_user(), when=_now(), components=allowed)
        pulled = pulled.model_copy(update={"consent": given})
    pulled.save()
    _forget_old(pulled)
    return replace(contents, pulled=pulled)


def _contents(new: Pulled, before: Pulled | None) -> Contents:
    now, problems = _read(new)
    then = _read(before)[0] if before is not None and before.root.is_dir() else []
    old = {f"{c.id} {c.version}": c for c in then}
    fresh = {f"{c.id} {c.version}": c for c in now}
    changed = [key for key in fresh if key in old and fresh[key].hash != old[key].hash]
    if not now and not problems:
        raise DataError(
            new.origin, expected="a repository of <kind>/<name>/component.json, of CK, CM or MLC", got="none"
        )
    return Contents(
        new,
        now,
        problems + _conflicts(new, now),
        added=[key for key in fresh if key not in old],
        removed=[key for key in old if key not in fresh],
        changed=changed,
    )


def _conflicts(new: Pulled, components: list[Component]) -> list[str]:
    """Where a name or a UID already means something else, so that asking for it alone would be a guess."""
    others = [item for item in index.listing() if item.repository.name != new.name]
    by_id, by_uid = {item.id: item for item in others}, {item.uid: item for item in others}
    found = []
    for component in components:
        named, same = by_id.get(component.id), by_uid.get(component.uid)
        if named is not None and named.uid != component.uid:
            where = repr(named.repository.name)
            found.append(f"{named.id} is another component in {where}; ask for {new.name}:{component.id}")
        if same is not None and same.id != component.id:
            where = repr(same.repository.name)
            found.append(f"{component.id} has the uid {same.uid} of {same.id} in {where}")
    return found


def _read(pulled: Pulled) -> tuple[list[Component], list[str]]:
    repository = Repository(pulled.name, pulled.root)
    components, problems = [], []
    for folder in repository.folders():
        try:
            components.append(repository.load(folder))
        except ComponentError as error:
            problems.append(str(error))
    if foreign.form_of(pulled.root) is not None:
        for folder in repository.folders():
            problems += [text for text in foreign.problems(folder, pulled.root) if text not in problems]
    return components, problems


def _refuse_damaged(pulled: Pulled) -> None:
    if hash_tree(pulled.root) != pulled.hash:
        remedy = f"holdfast remove {pulled.name}, and pull it again"
        raise DataError(
            str(pulled.root), expected=f"content {pulled.hash}", got="other content", remedy=remedy
        )


def _forget_old(pulled: Pulled) -> None:
    """Remove contents that are neither current nor previous; what runs from the previous one goes on."""
    for path in pulled.folder.iterdir():
        if path.is_dir() and path.name not in (pulled.hash, pulled.previous):
            shutil.rmtree(path, ignore_errors=True)


def _digest(given: str | None) -> str | None:
    if given is None:
        return None
    digest = given.removeprefix("sha256:")
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise UsageError("--hash", expected="sha256: and 64 hex digits", got=repr(given))
    return digest


def _name(name: str | None, origin: str) -> str:
    if name is None:
        last = origin.rstrip("/").replace(":", "/").rpartition("/")[2] if origin.strip("./") else ""
        last = last or Path(origin).resolve().name
        name = foreign.plain(re.sub(r"(\.git|\.zip|\.tar(\.\w+)?|\.t[gbx]z2?)$", "", last))
    if not re.fullmatch(NAME, name) or name in RESERVED:
        raise UsageError("--name", expected="lower-case letters, digits and dashes", got=repr(name))
    return name


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without an entry for this number
        return "unknown"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
