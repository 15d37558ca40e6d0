from importlib.metadata import EntryPoint

import pytest

from holdfast.core import registry as module
from holdfast.core.errors import DuplicateNameError, UnknownNameError
from holdfast.core.registry import Registry


@pytest.fixture
def registry():
    made = Registry("shape", "test_shapes")
    made.register("square")(4)
    made.register("circle")(0)
    return made


def test_names_are_sorted_and_found(registry):
    assert registry.names() == list(registry) == ["circle", "square"]
    assert registry.get("square") == 4
    assert "circle" in registry
    assert 3 not in registry


def test_register_returns_its_target(registry):
    @registry.register("three")
    def triangle():
        return 3

    assert triangle() == registry.get("three")() == 3


def test_unknown_names_list_the_known(registry):
    with pytest.raises(UnknownNameError, match="unknown shape: expected one of circle, square, got 'squire'"):
        registry.get("squire")


def test_duplicates_are_refused_and_the_first_stays(registry):
    with pytest.raises(DuplicateNameError, match="shape 'square' is registered twice"):
        registry.register("square")(5)
    assert registry.get("square") == 4


def test_entry_points_complete_it_once(registry, monkeypatch):
    asked = []

    def points(group):
        asked.append(group)
        return [EntryPoint("pi", "math:pi", group)]

    monkeypatch.setattr(module, "entry_points", points)
    assert registry.names() == ["circle", "pi", "square"]
    assert registry.get("pi") == pytest.approx(3.14159, abs=1e-5)
    assert asked == ["holdfast.test_shapes"]


def test_an_entry_point_cannot_replace_a_name(registry, monkeypatch):
    points = [EntryPoint("square", "math:pi", "holdfast.test_shapes")]
    monkeypatch.setattr(module, "entry_points", lambda group: points)
    with pytest.raises(DuplicateNameError):
        registry.names()
