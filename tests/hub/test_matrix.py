"""Matrices: cells, what is wired to what, labels, repetitions, and what is refused."""

from __future__ import annotations

import pytest

from holdfast.core.errors import ComponentError
from holdfast.hub import explain, find, run
from holdfast.hub.kinds import Matrix
from holdfast.hub.workflow import load

SEEDS = {"axes": {"a": [1, 2, 3]}}


def adding(**more):
    return {"id": "add", "uses": "program:add", "with": {"a": {"from": "matrix.a"}}, "matrix": SEEDS, **more}


def doubling(**more):
    return {"id": "double", "uses": "program:double", "with": {"source": {"from": "add.sum"}}, **more}


@pytest.fixture
def toys(toys):
    toys.shell()
    script = 'for file in "$@"; do printf "%s " $(cat $file); done | sed "s/ $//" > all.txt'
    entry = {"command": ["/bin/sh", "join.sh", "{inputs.files}"]}
    outputs = {"all": {"type": "file", "path": "all.txt"}}
    inputs = {"files": {"type": "paths"}}
    toys.component("program", "join", entry=entry, inputs=inputs, outputs=outputs, files={"join.sh": script})
    return toys


def test_cells_are_the_product_less_what_is_excluded_and_what_is_included():
    axes = {"x": [1, 2], "y": ["a", "b"]}
    include = [{"x": 9, "y": "c"}, {"x": 1, "y": "b"}]
    matrix = Matrix(axes=axes, exclude=[{"x": 2, "y": "a"}], include=include)
    expected = [(1, "a"), (1, "b"), (2, "b"), (9, "c")]
    assert [tuple(cell.values()) for cell in matrix.cells()] == expected


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"axes": {}}, "at least 1 item"),
        ({"axes": {"x": []}}, "at least 1 item"),
        ({"axes": {"x": [1, 1]}}, "given twice"),
        ({"axes": {"repetition": [1]}}, "say 'repetitions'"),
        ({"axes": {"x": [1]}, "exclude": [{"x": 1}]}, "every cell is excluded"),
        ({"axes": {"x": [1]}, "exclude": [{"z": 1}]}, "z is no axis"),
        ({"axes": {"x": [1], "y": [1]}, "include": [{"x": 2}]}, "a JSON value for each of x, y"),
        ({"axes": {"x": list(range(400)), "y": list(range(400))}}, "at most 100000 cells"),
    ],
)
def test_bad_matrices(fields, message):
    with pytest.raises(ValueError, match=message):
        Matrix(**fields)


def test_a_step_runs_once_for_every_cell_and_its_records_are_labelled(toys, statuses):
    toys.component("workflow", "w", steps=[adding()])
    result = run("workflow:w")
    assert statuses(result) == {"add[a=1]": "ran", "add[a=2]": "ran", "add[a=3]": "ran"}
    assert [(record.labels["a"], record.value) for record in result.records] == [(1, 2), (2, 3), (3, 4)]
    assert [step.cell for step in result.steps] == [{"a": 1}, {"a": 2}, {"a": 3}]
    assert [step.now for step in explain("workflow:w")] == ["hit"] * 3


def test_a_label_that_says_otherwise_stays(toys):
    step = adding(matrix={"axes": {"a": [7]}}) | {"with": {"a": 1}}
    toys.component("workflow", "w", steps=[step])
    assert run("workflow:w").records[0].labels == {"a": 1, "matrix.a": 7}


def test_a_step_with_the_same_axes_sees_its_own_cell_and_one_without_sees_all(toys):
    steps = [
        adding(),
        doubling(matrix=SEEDS),
        {"id": "join", "uses": "program:join", "with": {"files": [{"from": "double.double"}]}},
        {"id": "same", "uses": "program:join", "with": {"files": {"from": "double.double"}}},
    ]
    outputs = {"{a}/double.txt": {"from": "double.double"}, "all.txt": {"from": "join.all"}}
    toys.component("workflow", "w", steps=steps, outputs=outputs)
    result = run("workflow:w", out=toys.root / "out")
    assert (toys.root / "out/all.txt").read_text() == "4 6 8"
    assert (toys.root / "out/3/double.txt").read_text() == "8"
    assert result.output("same", "all").read_text() == "4 6 8"


def test_a_step_with_one_axis_of_two_gathers_along_the_other(toys):
    both = {"axes": {"a": [1, 2], "b": [10, 20]}}
    add = adding(matrix=both) | {"with": {"a": {"from": "matrix.a"}, "b": {"from": "matrix.b"}}}
    join = {"id": "join", "uses": "program:join", "with": {"files": {"from": "add.sum"}}}
    toys.component("workflow", "w", steps=[add, join | {"matrix": {"axes": {"b": [10, 20]}}}])
    result = run("workflow:w")
    found = [result.output(f"join[b={b}]", "all").read_text() for b in (10, 20)]
    assert found == ["11 12", "21 22"]


def test_a_workflow_over_a_matrix(toys, statuses):
    steps = [
        adding(matrix=None),
        doubling(),
        {"id": "join", "uses": "program:join", "with": {"files": {"from": "double.double"}}, "matrix": False},
    ]
    toys.component("workflow", "w", steps=steps, matrix=SEEDS)
    result = run("workflow:w")
    assert len(result.steps) == 7
    assert result.output("join", "all").read_text() == "4 6 8"


def test_repetitions_run_again_and_the_first_is_the_step_itself(toys, statuses):
    toys.component("workflow", "w", steps=[adding(matrix=None, repetitions=3) | {"with": {"a": 1}}])
    result = run("workflow:w")
    assert set(statuses(result).values()) == {"ran"}
    assert [record.labels["repetition"] for record in result.records] == [0, 1, 2]
    toys.component("workflow", "w", steps=[adding(matrix=None) | {"with": {"a": 1}}])
    assert statuses(run("workflow:w")) == {"add": "hit"}


def test_an_input_is_set_in_all_cells(toys):
    toys.component("workflow", "w", steps=[adding()])
    assert [record.value for record in run("workflow:w", {"add.b": 10}).records] == [11, 12, 13]


BAD = {
    "no such axis": ([adding() | {"with": {"a": {"from": "matrix.z"}}}], {}, "one of a, got 'z'"),
    "no matrix": ([adding(matrix=None)], {}, "one of none, got 'a'"),
    "a value of the wrong type": (
        [adding(matrix={"axes": {"a": [1, "x"]}})],
        {},
        "step 'add' input 'a': expected an integer, got 'x'",
    ),
    "several where one is due": ([adding(), doubling()], {}, "add.sum, once for every cell"),
    "no cell that agrees": (
        [adding(), doubling(matrix={"axes": {"a": [4]}})],
        {},
        "step 'double[a=4]': expected a cell of step 'add'",
    ),
    "an axis twice": ([adding()], {"matrix": SEEDS}, "axes that the workflow has not, got a"),
    "an output without its axis": (
        [adding()],
        {"outputs": {"sum.txt": {"from": "add.sum"}}},
        "a path with {a}",
    ),
    "an output outside": (
        [adding(matrix={"axes": {"a": [1], "b": [".."]}})],
        {"outputs": {"{b}/{a}": {"from": "add.sum"}}},
        "without '..'",
    ),
    "a condition on no axis": ([adding(when={"matrix": "z", "equals": 1})], {}, "one of a, got 'z'"),
}


@pytest.mark.parametrize(("steps", "fields", "message"), BAD.values(), ids=BAD)
def test_bad_workflows(toys, steps, fields, message):
    toys.component("workflow", "w", steps=steps, **fields)
    with pytest.raises(ComponentError) as caught:
        load(find("workflow:w"))
    assert message in str(caught.value)


@pytest.mark.parametrize("workers", [1, 2])
def test_cells_that_are_the_same_are_made_once(toys, workers):
    toys.component("workflow", "w", steps=[adding() | {"with": {"a": 1}}])
    for force in (False, True):
        result = run("workflow:w", workers=workers, force=force)
        assert sorted(step.status for step in result.steps) == ["hit", "hit", "ran"]
