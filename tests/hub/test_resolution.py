"""Resolution: ranges, backtracking, and every refusal in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.core.errors import ComponentError, UnknownNameError, UsageError
from holdfast.hub.kinds import Need
from holdfast.hub.resolution import parse, resolve

from .packages.conftest import packages  # noqa: F401  # a fixture


class Found:
    """Software as detection finds it."""

    def __init__(self, version, path):
        self.version, self.path, self.real, self.also = version, Path(path), Path(path), ()
        self.binary_hash = f"hash of {path}"


@pytest.fixture
def world(packages):  # noqa: F811
    """A repository, and a ``resolve`` on a machine where gcc and clang are as ``there`` says."""
    there = {"soft:acc": [("12.2.0", "/usr/bin/gcc-12"), ("13.1.0", "/usr/bin/gcc-13")], "soft:bcc": []}
    for name in ("acc", "bcc"):
        packages.write(name, kind="soft", detect={"binaries": [name]}, tags=["toy-compiler"])

    def detector(component):
        return [Found(*each) for each in there[component.id]]

    def ask(choices=None, pins=None, **needs):
        wanted = {name: Need(**need) for name, need in needs.items()}
        return resolve(wanted, "program:p", detector=detector, choices=choices, pins=pins)

    ask.write, ask.there = package_writer(packages), there
    return ask


def package_writer(packages):  # noqa: F811
    def write(name, version="1.0.0", needs=None, **fields):
        files = {"files": [{"names": ["x"]}]} if "generate" not in fields else {}
        base = {"version": version, "needs": needs or {}, "folder": f"{name}@{version}"}
        packages.write(name, **files | base | fields)

    return write


def versions(resolved):
    return {item.id: item.version for item in resolved.packages}


def need(target, versions=""):
    return {"uses": target, "versions": versions}


def test_the_highest_version_in_the_range(world):
    for version in ("1.0.0", "1.10.0", "1.9.0", "2.0.0"):
        world.write("data", version)
    assert world(d=need("package:data", "<2")).chosen["d"].version == "1.10.0"
    assert world(d=need("package:data")).chosen["d"].version == "2.0.0"


def test_software_by_its_range(world):
    assert str(world(cc=need("soft:acc", ">=13")).chosen["cc"].found.path) == "/usr/bin/gcc-13"


def test_several_installations_are_an_error_with_the_list(world):
    with pytest.raises(ComponentError) as error:
        world(cc=need("soft:acc", ">=12"))
    assert "12.2.0 at /usr/bin/gcc-12" in str(error.value)
    assert "13.1.0 at /usr/bin/gcc-13" in str(error.value)
    assert "--software acc=" in str(error.value)


@pytest.mark.parametrize("choice", ["/usr/bin/gcc-12", "12.2.0"])
def test_the_user_names_one(world, choice):
    assert world({"acc": choice}, cc=need("soft:acc")).chosen["cc"].version == "12.2.0"


def test_naming_what_is_not_there(world):
    with pytest.raises(UsageError, match="/usr/bin/gcc-12"):
        world({"acc": "/opt/gcc"}, cc=need("soft:acc"))


def test_a_pin_decides(world):
    pins = {"soft:acc": "hash of /usr/bin/gcc-12"}
    assert world(None, pins, cc=need("soft:acc")).chosen["cc"].version == "12.2.0"


def test_what_others_want_makes_it_unambiguous(world):
    world.write("lib", needs={"cc": need("soft:acc", "<13")})
    resolved = world(cc=need("soft:acc", ">=12"), lib=need("package:lib"))
    assert resolved.chosen["cc"].version == "12.2.0"
    assert resolved.inner["package:lib"]["cc"].version == "12.2.0"


def test_a_conflict_is_explained(world):
    world.write("lib", needs={"cc": need("soft:acc", "<13")})
    with pytest.raises(ComponentError) as error:
        world(cc=need("soft:acc", ">=13"), lib=need("package:lib"))
    for words in (
        "program:p wants soft:acc >=13",
        "package:lib 1.0.0 wants soft:acc <13",
        "12.2.0",
        "13.1.0",
    ):
        assert words in str(error.value)


def test_an_older_version_where_the_newest_conflicts(world):
    world.write("a", "2.0.0", needs={"c": need("package:c", ">=2")})
    world.write("a", "1.0.0", needs={"c": need("package:c", ">=1")})
    world.write("b", needs={"c": need("package:c", "<2")})
    world.write("c", "1.5.0")
    world.write("c", "2.5.0")
    resolved = world(a=need("package:a"), b=need("package:b"))
    assert versions(resolved) == {"package:a": "1.0.0", "package:b": "1.0.0", "package:c": "1.5.0"}
    order = list(versions(resolved))
    assert order.index("package:c") < order.index("package:a")


def test_tags_mean_the_one_component_that_is_there(world):
    world.there["soft:acc"] = [("12.2.0", "/usr/bin/gcc")]
    assert world(cc={"tags": ["toy-compiler"]}).chosen["cc"].id == "soft:acc"
    world.there["soft:bcc"] = [("14.0.0", "/usr/bin/clang")]
    assert world(cc={"tags": ["toy-compiler"], "versions": ">=14"}).chosen["cc"].id == "soft:bcc"
    with pytest.raises(ComponentError, match=r"soft:acc 12.*soft:bcc 14.*--software cc=soft:"):
        world(cc={"tags": ["toy-compiler"]})
    assert world({"cc": "soft:acc"}, cc={"tags": ["toy-compiler"]}).chosen["cc"].id == "soft:acc"


def test_tags_that_nothing_has(world):
    with pytest.raises(ComponentError, match="with the tags fortran"):
        world(f={"tags": ["fortran"]})


def test_missing_software_says_so(world):
    with pytest.raises(ComponentError, match=r"program:p wants soft:bcc.*none found"):
        world(cc=need("soft:bcc"))


def test_an_unknown_component(world):
    with pytest.raises(UnknownNameError, match="soft:icc"):
        world(cc=need("soft:icc"))


def test_optional_needs_are_left_out_where_they_cannot_be_had(world):
    world.write("lib", needs={"cc": need("soft:acc", "<13")})
    optional = need("package:lib") | {"optional": True}
    assert set(world(cc=need("soft:acc", ">=13"), lib=optional).chosen) == {"cc"}
    assert set(world(cc=need("soft:acc", "<13"), lib=optional).chosen) == {"cc", "lib"}
    assert world(x=need("soft:bcc") | {"optional": True}).chosen == {}


def test_a_yanked_version_is_chosen_only_if_named_exactly(world):
    world.write("data", "1.0.0")
    world.write("data", "1.1.0", yanked="wrong labels")
    assert world(d=need("package:data")).chosen["d"].version == "1.0.0"
    assert world(d=need("package:data", "==1.1.0")).chosen["d"].version == "1.1.0"
    with pytest.raises(ComponentError, match="yanked: wrong labels"):
        world(d=need("package:data", ">=1.1"))
    assert world(None, {"package:data": "1.1.0"}, d=need("package:data")).chosen["d"].version == "1.1.0"


def test_cycles_are_refused(world):
    world.write("a", needs={"b": need("package:b")})
    world.write("b", needs={"a": need("package:a")})
    with pytest.raises(ComponentError, match=r"package:a -> package:b -> package:a"):
        world(a=need("package:a"))


@pytest.mark.parametrize(
    ("text", "version"),
    [("12.2.0", "12.2.0"), ("12.2.0-14ubuntu1", "12.2.0"), ("v1.30", "1.30"), ("r27c", "27"), ("none", "0")],
)
def test_versions_as_far_as_they_can_be_compared(text, version):
    assert parse(text) == parse(version)
