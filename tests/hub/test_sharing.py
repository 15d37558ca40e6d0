"""Publishing into repositories and zips, and removing."""

import zipfile

import pytest

from holdfast.core.errors import ComponentError, UnknownNameError, UsageError
from holdfast.hub import find, publish_components, pull, remove, validate


def test_a_zip_is_the_same_bytes_and_its_hash_is_what_a_pull_verifies(toys, tmp_path):
    toys.chain()
    specs = ["workflow:chain", "program:add", "program:double"]
    first = publish_components(specs, tmp_path / "a.zip")
    publish_components(list(reversed(specs)), tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    contents = pull(str(tmp_path / "a.zip"), digest=first.to_json()["hash"])
    assert {component.id for component in contents.components} == set(specs)


def test_one_component_in_a_zip(toys, tmp_path):
    toys.add()
    first = publish_components(["program:add"], tmp_path / "a.zip")
    assert pull(str(tmp_path / "a.zip"), digest=first.hash).components[0].id == "program:add"
    assert zipfile.ZipFile(tmp_path / "a.zip").namelist() == [
        "program/add/component.json",
        "program/add/main.py",
    ]


def test_versions_lie_beside_each_other_and_never_change(toys, tmp_path):
    target = tmp_path / "shelf"
    toys.add()
    publish_components(["program:add"], target)
    publish_components(["program:add"], target)  # the same again is fine
    folder = toys.add(version="1.1.0")
    publish_components(["program:add"], target)
    assert sorted(path.name for path in (target / "program").iterdir()) == ["add", "add@1.1.0"]
    assert validate(target) == []
    (folder / "main.py").write_text((folder / "main.py").read_text() + "\n# more\n")
    with pytest.raises(UsageError, match="give the changed component a new version"):
        publish_components(["program:add"], target)
    toys.add(uid="0" * 16)
    with pytest.raises(UsageError, match="another one with uid"):
        publish_components(["program:add"], target)


def test_an_invalid_component_is_not_published(toys, tmp_path):
    toys.add(entry={"python": "other.py:run"})
    with pytest.raises(ComponentError, match="not valid"):
        publish_components(["program:add"], tmp_path / "a.zip")
    assert not (tmp_path / "a.zip").exists()


def test_remove_moves_aside(toys):
    toys.add()
    place = remove("program:add")
    assert (place / "component.json").is_file()
    with pytest.raises(UnknownNameError):
        find("program:add")
    with pytest.raises(UsageError, match="a component of your own"):
        remove("program:bench")
