"""The drawn graph: arrows forward, no two boxes in one place, what was done with each step."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.hub import find, graph
from holdfast.hub.kinds import Step
from holdfast.hub.workflow import BoundStep, Plan, load


def plan(needs: list[list[int]]) -> Plan:
    """A plan of steps that need others by number."""
    toy = find("workflow:digits-train")
    steps = [
        BoundStep(
            f"s{i}", f"<{i}>", toy, {}, Step(id=f"s{i}", uses="program:x"), tuple(f"s{n}" for n in each)
        )
        for i, each in enumerate(needs)
    ]
    return Plan(toy, tuple(steps), {}, {})


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_arrows_point_forward_and_boxes_lie_apart(data):
    count = data.draw(st.integers(1, 14))
    needs = [sorted(data.draw(st.sets(st.integers(0, i - 1)))) if i else [] for i in range(count)]
    drawn = graph.boxes(plan(needs))
    layer = {box.id: box.layer for box in drawn}
    assert all(layer[need] < box.layer for box in drawn for need in box.needs)
    assert all(box.layer == 0 or any(layer[n] == box.layer - 1 for n in box.needs) for box in drawn)
    for one in drawn:
        for other in drawn:
            assert one is other or one.layer != other.layer or abs(one.row - other.row) >= 1
    assert min(box.row for box in drawn) >= 0


def test_crossings_are_avoided_where_order_can():
    drawn = {box.id: box.row for box in graph.boxes(plan([[], [], [1], [0]]))}
    assert (drawn["s0"] < drawn["s1"]) == (drawn["s3"] < drawn["s2"])


@pytest.mark.parametrize(
    ("statuses", "told"),
    [
        ({}, ""),
        ({"s0": "hit", "s1": "ran"}, "[from the cache]"),
        ({"s0": "failed"}, "[failed]"),
    ],
)
def test_text_and_picture_tell_the_same(statuses, told):
    drawn = plan([[], [0]])
    first, second = graph.text(drawn, statuses).splitlines()
    assert first == f" 1. s0 {told}".rstrip()
    assert second.startswith(" 2. s1 ← s0")
    root = ElementTree.fromstring(graph.svg(drawn, statuses))
    words = [element.text for element in root.iter() if element.text]
    assert "s0: <0> " + f"({graph.COLOURS[statuses.get('s0', '')][2]})" in words
    assert len([e for e in root.iter() if e.tag.endswith("path")]) == 1


def test_cells_of_a_matrix_are_one_box(toys):
    toys.add()
    step = {"id": "add", "uses": "program:add", "with": {"a": {"from": "matrix.a"}}}
    toys.component("workflow", "w", steps=[step | {"matrix": {"axes": {"a": [1, 2, 3]}}}])
    loaded = load(find("workflow:w"))
    assert graph.text(loaded) == " 1. add ×3"
    assert "failed" in graph.text(loaded, {"add[a=1]": "hit", "add[a=2]": "failed"})
