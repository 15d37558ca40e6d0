"""Metrics from what a stranger's program leaves."""

import pytest

from holdfast.core.errors import ComponentError, StepError
from holdfast.hub import find, run, validate

PRINTS = r"""
printf 'time: 1.5 s on a\ntime: 2.5 s on b\ntime: 3.5 s on b\n'
echo '{"r": {"f": [0.5, 0.75]}}' > r.json
"""


def program(toys, reading, **metric):
    toys.component(
        "program",
        "alien",
        inputs={"level": {"type": "integer", "default": 2}, "name": {"type": "string", "default": "x"}},
        outputs={"report": {"type": "file", "path": "r.json"}},
        metrics={"m": {"unit": "s", "direction": "lower", "read": reading, **metric}},
        entry={"command": ["/bin/sh", "-c", PRINTS]},
    )


def test_a_pattern_gives_every_match_its_record(toys):
    program(toys, {"pattern": r"time: (?P<value>\S+) s on (?P<where>\w)"}, timed=True)
    records = run("program:alien").records
    assert [record.value for record in records] == [1.5, 2.5, 3.5]
    assert [record.labels.get("repetition") for record in records] == [None, 0, 1]
    assert records[0].labels == {"level": 2, "name": "x", "where": "a"}
    assert all(record.timed and record.unit == "s" and record.direction == "lower" for record in records)
    assert list(records[0].components) == ["program:alien"]


@pytest.mark.parametrize(("path", "values"), [("r.f", [0.5, 0.75]), ("r.f.1", [0.75])])
def test_a_path_through_json(toys, path, values):
    program(toys, {"from": "report", "json": path})
    assert [record.value for record in run("program:alien").records] == values


@pytest.mark.parametrize(
    ("reading", "message"),
    [
        ({"pattern": "speed: (?P<value>.*)"}, "no such text"),
        ({"pattern": "on (?P<value>a)"}, "a finite number"),
        ({"from": "report", "json": "r.g"}, "no 'g' there"),
        ({"from": "report", "json": "r"}, "a finite number"),
        ({"json": "r.f"}, "JSON in"),
    ],
)
def test_what_is_not_there_fails_the_step(toys, reading, message):
    program(toys, reading)
    with pytest.raises(StepError, match=message):
        run("program:alien")


@pytest.mark.parametrize(
    ("reading", "message"),
    [
        ({"pattern": "x"}, "group"),
        ({"pattern": "("}, "not a regular expression"),
        ({}, "exactly one"),
        ({"from": "log", "json": "a", "pattern": "(?P<value>a)"}, "exactly one"),
        ({"from": "nothing", "json": "a"}, "neither an output nor 'log'"),
    ],
)
def test_declarations_that_cannot_hold(toys, reading, message):
    program(toys, reading)
    with pytest.raises(ComponentError, match=message):
        find("program:alien")
    assert validate(toys.root)
