"""How the content of a package is made, one function a way; each fills a staging folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from holdfast.core.canonical import content_hash, hash_file
from holdfast.core.errors import DataError, UsageError
from holdfast.core.paths import find_data, home, storage_errors
from holdfast.core.progress import progress
from holdfast.hub.kinds import Package, Source
from holdfast.hub.packages.archives import form_of, unpack
from holdfast.hub.packages.fetching import download

Origin = list[dict[str, Any]]


@dataclass(frozen=True)
class Options:
    """How to install: without network; from a file or folder of the user; hashes the user has checked."""

    offline: bool = False
    given: Path | None = None
    accept: frozenset[str] = field(default_factory=frozenset)
    tell: Callable[[str], None] = lambda _: None


def file_name(url: str) -> str:
    """The last part of an address."""
    return PurePosixPath(unquote(urlsplit(url).path)).name or "download"


def found_files(package: Package, given: Path | None) -> dict[str, Path] | None:
    """The files that the package names, by their place in it, given by the user or below ``$HOLDFAST_DATA``.

    None if one is missing. A file whose hash is known and differs is not the file.
    """
    found: dict[str, Path] = {}
    for wanted in package.files:
        path = _given(given, [*wanted.names, *(Path(name).name for name in wanted.names)])
        path = path or find_data(wanted.names, installed=False)
        if path is None or (wanted.sha256 is not None and hash_file(path) != wanted.sha256):
            return None
        if path.is_dir():
            inside = (item for item in sorted(path.rglob("*")) if item.is_file())
            found.update({f"{path.name}/{item.relative_to(path).as_posix()}": item for item in inside})
        else:
            found[path.name] = path
    return found or None


def link(found: dict[str, Path], staging: Path) -> Origin:
    """Link files where they lie; nothing is copied."""
    for name, path in found.items():
        target = staging / name
        with storage_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(path.resolve())
    return [{"linked": str(path)} for path in found.values()]


def fetch(package: Package, where: str, staging: Path, options: Options) -> Origin:
    """Download (or take from the user) every source, check it, and unpack or place it."""
    origin = []
    for source in package.sources:
        name = file_name(source.url)
        file, kept = _obtained(source, name, where, options, only=len(package.sources) == 1)
        digest = source.sha256 or hash_file(file)
        if source.unpack:
            form = form_of(name)
            if form is None:
                raise UsageError(where, expected="a tar, zip or gz archive", got=name)
            unpack(file, staging / source.to, form, only=source.only, first=source.first)
        else:
            _place(file, staging / (source.to or name), move=not kept)
        if not kept:
            file.unlink(missing_ok=True)
        origin.append({"url": source.url, "sha256": digest, **({"given": str(file)} if kept else {})})
    return origin


def generate(package: Package, staging: Path, options: Options, project: Path | None) -> Origin:
    """Run the program, and take what it made: its outputs without records, at their own places."""
    from holdfast.hub.kinds import Program
    from holdfast.hub.repository import find
    from holdfast.hub.runner import run

    assert package.generate is not None
    component = find(package.generate.uses, project=project)
    options.tell(f"running {component.id}")
    finished = run(component, package.generate.with_, project=project)
    program = component.meta
    assert isinstance(program, Program)
    made = finished.steps[0].outputs
    for name, output in program.outputs.items():
        if output.type != "records":
            _copy(Path(made[name]), staging / output.path)
    return [{"program": component.id, "version": component.meta.version, "run": finished.id}]


def address_key(source: Source) -> str:
    """The name under which a download is kept until it is installed."""
    return source.sha256 or content_hash(source.url)


def _obtained(source: Source, name: str, where: str, options: Options, only: bool) -> tuple[Path, bool]:
    """The source's file, checked, and whether it belongs to the user.

    A file given for the ``only`` source may have any name.
    """
    given = _given(options.given, [name] if source.unpack else [source.to, name], only)
    if given is not None:
        digest = hash_file(given)
        if source.sha256 is not None and digest != source.sha256:
            raise DataError(str(given), expected=f"the file {name} with sha256 {source.sha256}", got=digest)
        _accepted(source, digest, where, options, str(given))
        return given, True
    target = home() / "downloads" / f"{address_key(source)[:16]}-{name}"
    if not target.exists():
        if options.offline:
            raise UsageError(
                where,
                expected="its files",
                got="no network allowed (--offline)",
                remedy=f"install it with a network, or give {name} by --from PATH",
            )
        options.tell(f"downloading {source.url}")
        with progress(name, source.bytes, "bytes") as advance:
            download(
                [source.url, *source.mirrors],
                target,
                sha256=source.sha256,
                size=source.bytes,
                advance=advance,
            )
    digest = hash_file(target)
    if source.sha256 is not None and digest != source.sha256:
        target.unlink()
        return _obtained(source, name, where, options, only)
    _accepted(source, digest, where, options, source.url)
    return target, False


def _accepted(source: Source, digest: str, where: str, options: Options, place: str) -> None:
    if source.sha256 is None and digest not in options.accept:
        raise UsageError(
            f"{where}: the hash of {place} is not known to the package",
            expected="a file that you have checked",
            got=f"sha256 {digest}",
            remedy=f"if it is the right file, install again with --accept {digest}",
        )


def _given(given: Path | None, names: list[str], only: bool = False) -> Path | None:
    if given is None:
        return None
    if given.is_file():
        return given if only or given.name in {Path(name).name for name in names} else None
    return next((given / name for name in names if name and (given / name).exists()), None)


def _place(file: Path, target: Path, *, move: bool) -> None:
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        if move:
            shutil.move(file, target)
        else:
            shutil.copyfile(file, target)


def _copy(source: Path, target: Path) -> None:
    """Hard links where they can be made: the cache's files are as read-only as the store's."""
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, copy_function=_link_or_copy)
        else:
            _link_or_copy(str(source), str(target))


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
