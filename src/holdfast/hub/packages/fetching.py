"""Downloads: resumed where they broke off, from mirrors where an address fails, never used unverified."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from holdfast.core.canonical import hash_file
from holdfast.core.errors import DataError, HoldfastError, UsageError
from holdfast.core.paths import storage_errors

TIMEOUT_S: Final = 30.0
TRIES: Final = 3
_CHUNK = 1 << 18
_BROKEN = (OSError, http.client.HTTPException)


class _RefusedError(Exception):
    """The answer of a server that another attempt would not change."""


def download(
    urls: Sequence[str],
    target: Path,
    *,
    sha256: str | None = None,
    size: int | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> str:
    """Fetch the first of ``urls`` that delivers into ``target``; return its SHA-256 (64 hex digits).

    The bytes go to ``target`` + ``.part`` and are renamed once they are whole: ``size`` bytes (where given)
    with the hash ``sha256`` (where given). A partial file of a known hash is resumed by Range, whoever left
    it. A connection that breaks is tried again while it makes progress, and ``TRIES`` times without. Raises
    UsageError for an address that is not http(s), StorageError, and DataError with what each address said.
    """
    part = target.with_name(target.name + ".part")
    problems = []
    for url in urls:
        if not url.startswith(("https://", "http://")):
            raise UsageError("source", expected="an address that begins with https:// or http://", got=url)
        try:
            return _from(url, part, target, sha256, size, advance)
        except DataError as error:
            problems.append(str(error))
    raise DataError(
        f"cannot download {urls[0].rpartition('/')[2]}",
        got="; ".join(problems),
        remedy="fetch the file yourself and give it by --from PATH",
    )


def _from(
    url: str,
    part: Path,
    target: Path,
    sha256: str | None,
    size: int | None,
    advance: Callable[[int], None],
) -> str:
    if sha256 is None:  # bytes of another day cannot be told from these
        part.unlink(missing_ok=True)
    barren = most = 0
    while True:
        before = _size(part)
        most = max(most, before)
        try:
            _pull(url, part, size, advance)
        except HoldfastError:
            raise
        except _RefusedError as error:
            raise DataError(url, got=str(error)) from error
        except _BROKEN as error:
            barren = 0 if _size(part) > most else barren + 1
            if barren >= TRIES:
                raise DataError(url, got=f"{type(error).__name__}: {error}") from error
            time.sleep(0.1 * 2**barren)
            continue
        digest = hash_file(part)
        if sha256 in (None, digest):
            with storage_errors(target):
                part.replace(target)
            return digest
        with suppress(OSError):
            part.unlink()
        if before == 0:
            raise DataError(url, expected=f"bytes with sha256 {sha256}", got=digest)
        # What was there before may be what is wrong: once more, from the start.


def _pull(url: str, part: Path, size: int | None, advance: Callable[[int], None]) -> None:
    """Append what ``part`` lacks. Raises _RefusedError, or what urllib raises when the connection breaks."""
    have = _size(part)
    if size is not None and have == size:
        return
    request = urllib.request.Request(url, headers={"User-Agent": "holdfast", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and have:  # more is there than the server has
                part.unlink()
                raise ConnectionError("the server has fewer bytes than were kept") from error
            if error.code in (408, 425, 429) or error.code >= 500:
                raise ConnectionError(f"HTTP {error.code}") from error
            raise _RefusedError(f"HTTP {error.code} {error.reason}") from error
    with answer:
        resumed = answer.status == 206 and str(answer.headers.get("Content-Range", "")).startswith(
            f"bytes {have}-"
        )
        if answer.status == 206 and not resumed:
            part.unlink(missing_ok=True)
            raise ConnectionError("the server sent another range than was asked for")
        length = answer.headers.get("Content-Length")
        start = have if resumed else 0
        promised = start + int(length) if length is not None and length.isdecimal() else None
        if size is not None and promised is not None and promised != size:
            raise _RefusedError(f"{promised} bytes where {size} were expected")
        got = _receive(answer, part, start, size, advance)
    if promised is not None and got < promised:
        raise ConnectionError(f"the connection was cut after {got} of {promised} bytes")
    if size is not None and got != size:
        raise ConnectionError(f"{got} bytes where {size} were expected")


def _receive(
    answer: http.client.HTTPResponse,
    part: Path,
    start: int,
    size: int | None,
    advance: Callable[[int], None],
) -> int:
    got = start
    with storage_errors(part):
        part.parent.mkdir(parents=True, exist_ok=True)
        # Unbuffered: a full disk is then an error of a write, not of the close that follows.
        file = part.open("r+b" if start else "wb", buffering=0)
    with file:
        file.seek(start)
        while chunk := answer.read(_CHUNK):
            got += len(chunk)
            if size is not None and got > size:
                raise _RefusedError(f"more than the {size} bytes that were expected")
            view = memoryview(chunk)
            with storage_errors(part):
                while view:
                    view = view[file.write(view) :]
            advance(len(chunk))
    return got


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
