"""Finding components: precedence, versions, and no guessing."""

from __future__ import annotations

import pytest

from holdfast.core.errors import ComponentError, UnknownNameError, UsageError
from holdfast.hub import find, list_components, repositories, scan, search

UID = "0123456789abcdef"


@pytest.fixture
def user(toys, tmp_path):
    """The user's repository, behind the project's."""
    return type(toys)(tmp_path / "home" / "repo")


def test_order_of_repositories(toys):
    assert [repository.name for repository in repositories()] == ["project", "user", "built-in"]


def test_project_before_user_and_highest_version_within(toys, user):
    user.add(uid=UID, version="9.0.0")
    toys.add(uid=UID, version="1.9.0")
    toys.add(uid=UID, version="1.10.0", folder="add@1.10.0")
    assert str(find("program:add").version) == "1.10.0"
    assert str(find("program:add@<1.10").version) == "1.9.0"
    assert str(find("program:add@1.9.0").version) == "1.9.0"
    assert find("program:add@>=2").repository == "user"
    assert find(f"program:{UID}").name == "add"


def test_no_version_fits(toys):
    toys.add()
    with pytest.raises(
        ComponentError, match=r"no version of program:add satisfies >=2: expected >=2, got 1\.0\.0"
    ):
        find("program:add@>=2")


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("program:ad", UnknownNameError, "did you mean 'program:add'"),
        ("progam:add", UnknownNameError, "did you mean 'program'"),
        ("add", UsageError, "kind:name"),
        ("program:", UsageError, "kind:name"),
        ("program:add@~~1", UsageError, "a range such as"),
        ("program:../add", UnknownNameError, "unknown component"),
        ("program:a*", UnknownNameError, "unknown component"),
        (f"program:{UID}", UnknownNameError, "unknown component"),
    ],
)
def test_specs_that_name_nothing(toys, spec, error, message):
    toys.add()
    with pytest.raises(error, match=message):
        find(spec)


def test_one_name_with_two_uids_is_ambiguous(toys, user):
    toys.add()
    user.add(uid=UID)
    with pytest.raises(ComponentError, match="ambiguous"):
        find("program:add")
    assert find(f"program:{UID}").repository == "user"


def test_one_uid_for_two_names_is_ambiguous(toys):
    toys.add(uid=UID)
    toys.double(uid=UID)
    with pytest.raises(ComponentError, match="ambiguous"):
        find(f"program:{UID}")


def test_one_version_twice_is_ambiguous(toys):
    toys.add()
    toys.add(folder="add@1.0.0")
    with pytest.raises(ComponentError, match="ambiguous"):
        find("program:add")


def test_a_broken_neighbour_is_reported_but_harms_nobody(toys):
    toys.add()
    (toys.double() / "component.json").write_text("{")
    assert find("program:add").name == "add"
    assert any("double" in str(problem) for problem in scan().problems)
    assert {component.id for component in list_components("program", project=toys.root)} >= {"program:add"}


def test_search_by_text_and_tags(toys):
    toys.add(tags=["maths", "fast"], description="Sums two numbers")
    toys.double(tags=["maths"])
    assert {c.name for c in search(tags=["maths"])} == {"add", "double"}
    assert [c.name for c in search("NUMBERS sums", tags=["maths", "fast"])] == ["add"]
    assert search("sums", kind="workflow") == []


def test_a_yanked_version_is_only_chosen_by_its_exact_number(toys, user):
    toys.add(uid=UID, version="1.0.0")
    toys.add(uid=UID, version="1.1.0", folder="add@1.1.0", yanked="adds wrongly")
    assert str(find("program:add").version) == "1.0.0"
    assert str(find("program:add@>=1").version) == "1.0.0"
    assert find("program:add@1.1.0").meta.yanked == "adds wrongly"
    user.add(uid=UID, version="1.2.0")
    assert find("program:add@>1.0").repository == "user"
    with pytest.raises(ComponentError, match=r"yanked: got 1.1.0: adds wrongly; name one exactly.*@1\.1\.0"):
        find("program:add@>1.0,<1.2")


def test_a_repository_can_be_named(toys, user):
    toys.add()
    user.add(uid=UID)
    assert find("user:program:add").uid == UID
    assert find("project:program:add").repository == "project"
    with pytest.raises(UnknownNameError, match="unknown repository"):
        find("usr:program:add")
    with pytest.raises(UnknownNameError, match="unknown component"):
        find("built-in:program:add")
    with pytest.raises(UsageError, match="kind:name"):
        find("a:b:program:add")


def test_two_components_of_one_uid_are_a_problem_with_the_list(toys):
    toys.add(uid=UID)
    toys.double(uid=UID)
    (problem,) = [str(p) for p in scan(project=toys.root).problems if UID in str(p)]
    assert "program:add 1.0.0" in problem
    assert "program:double 1.0.0" in problem
