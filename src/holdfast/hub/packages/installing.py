"""Installing packages: what is there is used, what is missing is made, and nothing half-made is seen."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from holdfast.core.canonical import content_hash
from holdfast.core.errors import ComponentError, UsageError
from holdfast.core.paths import home
from holdfast.hub import key as keys
from holdfast.hub.cache import Cache
from holdfast.hub.component import Component, described
from holdfast.hub.hashes import FileHashes
from holdfast.hub.kinds import Package
from holdfast.hub.packages import environments, making
from holdfast.hub.packages.making import Options, Origin
from holdfast.hub.packages.store import Receipt, Store
from holdfast.hub.pulled import require_consent
from holdfast.hub.repository import find

Way = Literal["installed", "link", "download", "generate", "pip"]


@dataclass(frozen=True)
class Installed:
    """An installed package: its content's folder and hash, which is what a step's key and a lock hold."""

    component: str
    version: str
    folder: Path
    hash: str
    provides: dict[str, Path]
    license: str = ""
    simulated: bool = False
    fresh: bool = False

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values."""
        provides = {name: str(path) for name, path in self.provides.items()}
        return {**vars(self), "folder": str(self.folder), "provides": provides}


@dataclass(frozen=True)
class Planned:
    """What installing a package would do: the way, what is fetched or used, how many bytes where known."""

    component: str
    version: str
    way: Way
    what: tuple[str, ...]
    bytes: int | None
    license: str
    simulated: bool


def install(
    component: Component | str,
    *,
    offline: bool = False,
    given: Path | None = None,
    accept: Collection[str] = (),
    tell: Callable[[str], None] = lambda _: None,
    project: Path | None = None,
) -> Installed:
    """Install one package (its own needs aside, see ``needs.install``) and return where it lies.

    Content that is there and whole is used as it is; damaged content is moved to ``corrupt/`` and made anew.
    ``offline`` refuses the network; ``given`` is a file, or a folder with files, of the user's; ``accept``
    are SHA-256 of files that the user has checked where the package knows none. Two installers of one
    package share the work; a killed one leaves nothing that could be taken for a package. Raises UsageError,
    DataError (wrong bytes, no server, a hostile archive), ComponentError, StepError (a generator) and
    StorageError.
    """
    found = find(component, project=project) if isinstance(component, str) else component
    options = Options(offline, given, frozenset(accept), tell)
    with closing(FileHashes(home() / "hashes.sqlite")) as hashes:
        return _Installer(found, options, hashes).install()


def installed(component: Component, hashes: FileHashes, given: Path | None = None) -> Installed | None:
    """The package as installed, or as its files below ``$HOLDFAST_DATA`` would make it; None if neither.

    Changes nothing. The second is what an install would link.
    """
    return _Installer(component, Options(given=given), hashes).present()


def planned(component: Component, *, given: Path | None = None) -> Planned:
    """What ``install`` would do. Changes nothing and uses no network."""
    with closing(FileHashes(home() / "hashes.sqlite")) as hashes:
        return _Installer(component, Options(given=given), hashes).plan()


class _Installer:
    def __init__(self, component: Component, options: Options, hashes: FileHashes) -> None:
        self.component, self.options = component, options
        self.package = described(component, Package)
        # A package that lies outside the known repositories sees its own neighbours first.
        self.project = None if component.repository in ("user", "built-in") else component.root
        self.store, self.cache = Store(hashes), Cache(home(), hashes)
        self.found = making.found_files(self.package, options.given) if self.package.files else None

    def install(self) -> Installed:
        require_consent(self.component)
        key = self._key()
        there = self._whole(key)
        if there is not None:
            return self._done(there)
        waiting = f"another process installs {self.component.id}"
        with self.cache.lock(f"install-{key}", lambda: self.options.tell(waiting)):
            there = self._whole(key)
            if there is None:
                self._discard_damaged(key)
                return self._done(self._make(key), fresh=True)
        return self._done(there)

    def present(self) -> Installed | None:
        there = self._whole(self._key())
        if there is not None:
            return self._done(there, publish=False)
        if self.found is None:
            return None
        digest = self._linked_hash(self.found)
        return self._done(Receipt(self.component.id, self.package.version, digest, digest), publish=False)

    def plan(self) -> Planned:
        way, what, size = self._plan()
        package = self.package
        return Planned(
            self.component.id, package.version, way, what, size, package.license, package.simulated
        )

    def _plan(self) -> tuple[Way, tuple[str, ...], int | None]:
        package = self.package
        there = self._whole(self._key())
        if there is not None:
            return "installed", (str(self.store.folder(there.hash)),), 0
        if self.found is not None:
            return "link", tuple(map(str, self.found.values())), 0
        if package.sources:
            known = [source.bytes for source in package.sources]
            sizes = [size for size in known if size is not None]
            total = sum(sizes) if len(sizes) == len(known) else None
            return "download", tuple(source.url for source in package.sources), total
        if package.generate is not None:
            return "generate", (package.generate.uses,), None
        if package.pip:
            return "pip", tuple(package.pip), None
        missing = tuple(" or ".join(wanted.names) for wanted in package.files)
        return "link", tuple(f"missing: {name}" for name in missing), None

    def _key(self, *, linked: bool = True) -> str:
        """What decides the content: the recipe, and whatever else goes into it."""
        package = self.package
        variant: dict[str, Any] = {}
        if self.found is not None and linked:
            variant["linked"] = self._linked_hash(self.found)
        elif package.generate is not None:
            program = find(package.generate.uses, project=self.project)
            inputs = {**_defaults(program), **package.generate.with_}
            variant["generate"] = keys.facets(program, inputs, self.store.hashes)
        elif package.pip:
            variant["python"] = environments.interpreter()
        recipe = package.model_dump(mode="json", include={"sources", "files", "generate", "pip"})
        return content_hash({"id": self.component.id, "version": package.version, **recipe, **variant})

    def _linked_hash(self, found: dict[str, Path]) -> str:
        return content_hash({name: self.store.hashes.file(path) for name, path in sorted(found.items())})

    def _whole(self, key: str) -> Receipt | None:
        receipt = self.store.receipt(key)
        return receipt if receipt is not None and self.store.whole(receipt.hash, receipt.tree) else None

    def _discard_damaged(self, key: str) -> None:
        receipt = self.store.receipt(key)
        if receipt is not None and self.store.folder(receipt.hash).exists():
            aside = self.store.discard(receipt.hash)
            self.options.tell(f"{self.component.id} was damaged: moved to {aside}, installed anew")

    def _make(self, key: str) -> Receipt:
        work = self.cache.start(f"install-{key}", keep=False)
        staging = work / "outputs"
        try:
            origin, digest = self._fill(staging)
            if self.package.pip:
                environments.settle(staging, self.store.folder(digest))
            self._check_provided(staging)
            tree = self.store.hashes.path(staging)
            receipt = Receipt(
                self.component.id,
                self.package.version,
                digest or tree,
                tree,
                self.package.license,
                self.package.simulated,
                origin,
                datetime.now(UTC).isoformat(timespec="seconds"),
            )
            self.store.add(key, staging, receipt)
            if self.found is not None:  # for when these files are no longer where they were found
                self.store.remember(self._key(linked=False), receipt)
        finally:
            with suppress(OSError):
                shutil.rmtree(work, ignore_errors=True)
        return receipt

    def _fill(self, staging: Path) -> tuple[Origin, str]:
        """Make the content; return its origin, and its hash where that is not the tree's."""
        package, options, where = self.package, self.options, self.component.id
        if self.found is not None:
            return making.link(self.found, staging), ""
        if package.sources:
            return making.fetch(package, where, staging, options), ""
        if package.generate is not None:
            return making.generate(package, staging, options, self.project), ""
        if package.pip:
            options.tell(f"installing {', '.join(package.pip)} into a private environment")
            origin = environments.make(package.pip, staging, offline=options.offline, wheels=options.given)
            return origin, environments.identity(origin)
        wanted = [" or ".join(file.names) for file in package.files]
        raise UsageError(
            where,
            expected=f"its files below a folder of HOLDFAST_DATA: {', '.join(wanted)}",
            got="not all of them",
            remedy="set HOLDFAST_DATA, or give them by --from FOLDER",
        )

    def _check_provided(self, staging: Path) -> None:
        for name, path in self.package.provides.items():
            if not (staging / path).exists():
                there = ", ".join(sorted(item.name for item in staging.iterdir())[:10])
                raise ComponentError(
                    f"{self.component.id} provides {name!r}", expected=path, got=f"only {there or 'nothing'}"
                )

    def _provides(self) -> dict[str, str]:
        python = {"python": environments.PYTHON} if self.package.pip else {}
        return {**python, **self.package.provides}

    def _done(self, receipt: Receipt, *, fresh: bool = False, publish: bool = True) -> Installed:
        folder = self.store.folder(receipt.hash)
        if publish and "data" in self.package.tags:
            self.store.publish_data(self.component.name, folder)
        return Installed(
            self.component.id,
            self.package.version,
            folder,
            receipt.hash,
            {name: folder / path for name, path in self._provides().items()},
            self.package.license,
            self.package.simulated,
            fresh,
        )


def _defaults(program: Component) -> dict[str, Any]:
    return {name: item.default for name, item in program.inputs.items() if not item.required}
