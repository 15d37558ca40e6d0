import errno

import pytest

from holdfast.data.simulate.disk import ForgivingFile


class Full:
    """A file on a disk that takes ``room`` bytes."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def write(self, data):
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = self.file.write(data[: self.room])
        self.room -= taken
        return taken

    def close(self):
        self.file.close()


def test_bytes_are_written_and_read_back(tmp_path):
    with ForgivingFile(tmp_path / "f") as file:
        assert file.write(b"hello") == 5
        file.seek(1)
        assert file.read(3) == b"ell"
        assert file.tell() == 4
        file.truncate(2)
        file.check()
    assert (tmp_path / "f").read_bytes() == b"he"


def test_the_first_error_is_kept_and_raised_on_leaving(tmp_path):
    file = ForgivingFile(tmp_path / "f")
    file._file = Full(file._file, 4)
    assert file.write(b"hello") == 5
    assert file.write(b"more") == 4
    with pytest.raises(OSError, match="No space left"):
        file.__exit__(None, None, None)
    assert (tmp_path / "f").read_bytes() == b"hell"


def test_check_raises_in_the_middle(tmp_path):
    file = ForgivingFile(tmp_path / "f")
    file._file = Full(file._file, 0)
    file.write(b"x")
    with pytest.raises(OSError, match="No space left"):
        file.check()
    file.close()


def test_an_error_of_the_block_is_not_hidden(tmp_path):
    file = ForgivingFile(tmp_path / "f")
    file._file = Full(file._file, 0)
    file.write(b"x")
    assert file.__exit__(KeyError, KeyError(), None) is None
