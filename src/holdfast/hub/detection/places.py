"""Where to look: PATH, folders, globs and environment variables; and what lies there."""

from __future__ import annotations

import fnmatch
import glob
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

_VARIABLE = re.compile(r"\$\{?(\w+)\}?")
_WRAPPER = re.compile(r'#![^\n]*sh\s*\n\s*exec\s+"?(/[^\s"]+)"?\s+"\$@"\s*')
_WRAPPER_BYTES, _WRAPPERS = 1024, 3


@dataclass
class Candidate:
    """Something that may be the software: the name it was found under, the file behind it, the folder.

    ``proxy`` is true where the file behind says nothing of what answers (a script, or one program of many
    names): it is asked anew each time.
    """

    path: Path
    real: Path
    folder: Path
    how: str
    proxy: bool = False
    also: list[str] = field(default_factory=list)


def folders(entries: Iterable[str], environment: Mapping[str, str] = os.environ) -> list[Path]:
    """Existing folders that ``entries`` mean, each once however many names it has, in order.

    An entry may start with ``~``, hold globs, ``{prefix}`` (of the running Python) and ``$VARIABLES``, whose
    values may be lists like PATH; one with an unset variable means nothing, nor does a relative one.
    """
    expanded = [
        path
        for entry in entries
        for place in _expand(entry, environment)
        for path in sorted(glob.glob(place))
    ]
    return _distinct(expanded)


def path_folders(environment: Mapping[str, str] = os.environ) -> list[Path]:
    """Folders of PATH. Relative ones are left out: what the current folder holds is no installed software."""
    return _distinct(environment.get("PATH", "").split(os.pathsep))


def binaries(names: Sequence[str], where: Sequence[Path]) -> list[Candidate]:
    """Executable files in ``where`` with one of ``names`` (or globs), one for each file behind links."""
    found: dict[object, Candidate] = {}
    for folder in where:
        for path in _named(folder, names):
            real, proxy = _behind(path)
            # An environment's python is a link to another's, and yet another installation.
            apart = folder if (folder.parent / "pyvenv.cfg").is_file() else None
            known = found.setdefault(
                path if proxy else (apart, real), Candidate(path, real, folder, f"in {folder}", proxy)
            )
            if known.path != path:
                known.also.append(str(path))
    return list(found.values())


def files(patterns: Sequence[str], where: Sequence[Path]) -> list[Candidate]:
    """Files and folders that match ``patterns`` below each of ``where``, in the order of the patterns."""
    found: dict[tuple[Path, Path], Candidate] = {}
    for folder in where:
        for pattern in patterns:
            for name in sorted(glob.glob(pattern, root_dir=folder)):
                path = folder / name
                with suppress(OSError):
                    real = path.resolve(strict=True)
                    known = found.setdefault((folder, real), Candidate(path, real, folder, f"in {folder}"))
                    if known.path != path:
                        known.also.append(str(path))
    return list(found.values())


def _named(folder: Path, names: Sequence[str]) -> list[Path]:
    plain = [name for name in names if not glob.has_magic(name)]
    globs = [name for name in names if glob.has_magic(name)]
    with suppress(OSError):
        present = sorted(os.listdir(folder)) if globs else []
        matching = [name for name in present if any(fnmatch.fnmatchcase(name, each) for each in globs)]
        paths = [folder / name for name in dict.fromkeys([*plain, *matching])]
        return [path for path in paths if path.is_file() and os.access(path, os.X_OK)]
    return []


def _behind(path: Path, depth: int = 0) -> tuple[Path, bool]:
    """The file behind links and plain ``exec`` wrappers, and whether what answers may still be another."""
    real = path.resolve()
    with suppress(OSError), real.open("rb") as file:
        head = file.read(_WRAPPER_BYTES + 1)
        if head.startswith(b"#!"):
            wrapper = _WRAPPER.fullmatch(head.decode("latin-1"))
            if wrapper is not None and depth < _WRAPPERS and Path(wrapper[1]).is_file():
                return _behind(Path(wrapper[1]), depth + 1)
            return real, True
    stem = re.split(r"[-.\d]", path.name)[0]
    return real, stem not in real.name


def _expand(entry: str, environment: Mapping[str, str]) -> list[str]:
    variable = _VARIABLE.match(entry)
    texts = [entry.replace("{prefix}", sys.prefix)]
    if variable:
        rest = entry[variable.end() :]
        texts = [part + rest for part in environment.get(variable[1], "").split(os.pathsep) if part]
    if any(name not in environment for name in _VARIABLE.findall(entry)):
        return []
    return [_VARIABLE.sub(lambda found: environment[found[1]], os.path.expanduser(text)) for text in texts]


def _distinct(places: Iterable[str]) -> list[Path]:
    known: dict[str, Path] = {}
    for place in places:
        if os.path.isabs(place) and os.path.isdir(place):
            known.setdefault(os.path.realpath(place), Path(place))
    return list(known.values())
