import json

import pytest

from holdfast.cli.arguments import parse
from holdfast.core.errors import UsageError


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param([], {}, id="nothing"),
        pytest.param(["--events", "10"], {"events": "10"}, id="separate value"),
        pytest.param(["--events=10"], {"events": "10"}, id="joined value"),
        pytest.param(["--batch-size", "3"], {"batch_size": "3"}, id="dashes become underscores"),
        pytest.param(["--fast", "--events", "1"], {"fast": "true", "events": "1"}, id="flag"),
        pytest.param(["--shift", "-3"], {"shift": "-3"}, id="negative number"),
        pytest.param(["--name="], {"name": ""}, id="empty value"),
        pytest.param(["--n", "1", "--n", "2"], {"n": "2"}, id="later wins"),
        pytest.param(
            ["m.pt", "-d", "digits"], {"model": "m.pt", "data": "digits"}, id="positional and short"
        ),
    ],
)
def test_words_become_values(words, expected):
    assert parse(words, positional=["model"], short={"d": "data"}) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param(["a.h5"], "a.h5", id="one"),
        pytest.param(["a.h5,b.h5"], "a.h5,b.h5", id="one word of several"),
        pytest.param(["a.h5", "b,c.h5"], ["a.h5", "b,c.h5"], id="two"),
    ],
)
def test_the_last_position_may_take_all_words(words, expected):
    words = ["m.pt", *words, "--seed", "1"]
    assert parse(words, positional=["model", "files"], many="files") == {
        "model": "m.pt",
        "files": expected,
        "seed": "1",
    }


def test_a_file_gives_json_values(tmp_path):
    path = tmp_path / "inputs.json"
    path.write_text(json.dumps({"events": 10, "options": {"width": 0.5}}))
    assert parse([f"@{path}", "--events", "20"]) == {"events": "20", "options": {"width": 0.5}}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["stray"], "stray", id="word that means nothing"),
        pytest.param(["-q", "1"], "-q", id="unknown short option"),
        pytest.param(["@missing.json"], "missing.json", id="no such file"),
    ],
)
def test_what_cannot_be_read_is_a_usage_error(words, message):
    with pytest.raises(UsageError, match=message):
        parse(words)


@pytest.mark.parametrize("text", ["{", "[1]"], ids=["broken", "not an object"])
def test_a_file_that_is_no_object_is_a_usage_error(tmp_path, text):
    path = tmp_path / "inputs.json"
    path.write_text(text)
    with pytest.raises(UsageError, match="JSON"):
        parse([f"@{path}"])
