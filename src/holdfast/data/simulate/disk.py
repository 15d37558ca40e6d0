"""A file for HDF5 to write to that turns a full disk into one clean error."""

from __future__ import annotations

import io
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer


class ForgivingFile(io.RawIOBase):
    """A file that remembers the first failed write and pretends that it and all later ones succeeded.

    HDF5 crashes the process at its exit when it could not flush a file. So it is told that all is well, and
    ``check``, also called on leaving the context, raises the OSError instead.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b", buffering=0)
        self._error: OSError | None = None

    def check(self) -> None:
        """Raise the first error, if there was one."""
        if self._error is not None:
            raise self._error

    def write(self, data: Buffer) -> int:
        """Write all of ``data``, or remember why not."""
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view) and self._error is None:
            try:
                done += self._file.write(view[done:])
            except OSError as error:
                self._error = error
        return len(view)

    def readinto(self, buffer: Buffer) -> int:
        """Read into ``buffer``."""
        return self._file.readinto(buffer)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to an offset."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """The current offset."""
        return self._file.tell()

    def truncate(self, size: int | None = None) -> int:
        """Set the size, or remember why not."""
        try:
            return self._file.truncate(size)
        except OSError as error:
            self._error = self._error or error
            return size or 0

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if kind is None:
            self.check()
