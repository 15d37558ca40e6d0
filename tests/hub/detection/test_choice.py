import io

import pytest

from holdfast.core.errors import ComponentError, UsageError
from holdfast.hub.detection import Found, choose, within
from holdfast.hub.detection.choice import ask_on_terminal


def found(version, path, *also):
    return Found("soft:gcc", version, path, "0" * 64, {}, "2026-01-01T00:00:00+00:00", "", path, also)


@pytest.fixture
def several(tmp_path):
    return [found("9.4.0", tmp_path / "a"), found("12.2.0", tmp_path / "b", "/bin/gcc"), found("x", tmp_path)]


def nobody(question, options):
    return None


def test_the_only_one_is_chosen(several):
    assert choose(several[:1], ask=nobody) == several[0]
    assert choose(several, ">=10", ask=nobody) == several[1]


def test_several_are_never_chosen_from_by_a_guess(several):
    with pytest.raises(ComponentError) as error:
        choose(several, ">=9", ask=nobody)
    text = str(error.value)
    assert "2 installations of soft:gcc >=9" in text
    assert f"9.4.0 at {several[0].path}; 12.2.0 at {several[1].path}, also /bin/gcc" in text
    assert f"--software gcc={several[0].path}" in text


def test_the_one_that_is_asked_for_is_chosen(several):
    asked = []

    def second(question, options):
        asked.append((question, options))
        return 1

    assert choose(several, ">=9", ask=second) == several[1]
    assert len(asked[0][1]) == 2


def test_a_name_is_a_path_any_path_or_a_version(several, tmp_path):
    for name in (several[1].path, str(several[1].path), "/bin/gcc", "12.2.0"):
        assert choose(several, named=name, ask=nobody) == several[1]
    several[0].path.touch()
    (tmp_path / "link").symlink_to(several[0].path)
    assert choose(several, named=tmp_path / "link", ask=nobody) == several[0]


@pytest.mark.parametrize("name", ["/usr/bin/other", "gcc", "9", ""])
def test_what_names_none_is_an_error_with_the_list(several, name):
    with pytest.raises(ComponentError, match=r"9\.4\.0 at"):
        choose(several, named=name, ask=nobody)


def test_a_named_one_has_to_be_in_the_range(several):
    with pytest.raises(ComponentError, match="one of those that fit >=10"):
        choose(several, ">=10", named=several[0].path, ask=nobody)


def test_none_that_fits_is_an_error_that_says_what_there_is(several):
    with pytest.raises(ComponentError, match=r"expected a version >=13, got 9\.4\.0 at"):
        choose(several, ">=13")
    with pytest.raises(ComponentError, match="none installed"):
        choose([], ">=13")


def test_ranges(several):
    assert within(several, "") == several
    assert within(several, ">=0") == several[:2]  # "x" is no version to compare
    pre = found("14.1.0rc3", several[0].path)
    assert within([pre], ">=14") == [pre]
    with pytest.raises(UsageError, match="a range such as"):
        within(several, "nine")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("typed", "index"), [("2\n", 1), ("x\n0\n1\n", 0), ("3\n4\n\n1\n", None), ("", None)]
)
def test_a_terminal_is_asked_three_times(monkeypatch, typed, index):
    shown = Terminal()
    monkeypatch.setattr("sys.stdin", Terminal(typed))
    monkeypatch.setattr("sys.stderr", shown)
    assert ask_on_terminal("Which?", ["one", "two"]) == index
    assert "Which?\n  1  one\n  2  two\n" in shown.getvalue()


def test_without_a_terminal_nobody_is_asked(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("1\n"))
    assert ask_on_terminal("Which?", ["one", "two"]) is None
