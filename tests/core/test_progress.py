import io
import sys

from holdfast.core.progress import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_nothing_is_written_when_stderr_is_no_terminal(capfd):
    with progress("train", 3, "steps") as advance:
        advance()
        advance(2, note="loss 0.1")
    assert capfd.readouterr() == ("", "")


def test_a_terminal_shows_description_and_note(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    with progress("train", 3, "steps") as advance:
        advance(3, note="loss 0.25")
    assert "train" in terminal.getvalue()
    assert "loss 0.25" in terminal.getvalue()
