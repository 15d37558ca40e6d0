"""From named files and folders to a list of files; manifests stand for the files that they pin."""

from __future__ import annotations

import numpy as np
import pytest

from holdfast.core.errors import DataError, UsageError
from holdfast.data import manifest
from holdfast.data.files import found_files


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in ("b.h5", "a.H5", "notes.txt", "deep/c.npz"):
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def test_folders_stand_for_the_files_in_them(folder):
    here = [folder / "a.H5", folder / "b.h5"]
    assert found_files(folder, [".h5", ".npz"]) == here
    assert found_files(folder, [".h5", ".npz"], below=True) == [*here, folder / "deep" / "c.npz"]
    both = f"{folder / 'notes.txt'},{folder / 'deep'}"
    assert found_files(both, [".npz"]) == [folder / "notes.txt", folder / "deep" / "c.npz"]


@pytest.mark.parametrize(
    ("names", "error", "words"),
    [
        ([], UsageError, "at least one"),
        (["b.h5", "b.h5"], UsageError, "each file once"),
        (["b.h5", "."], UsageError, "each file once"),
        (["absent.h5"], DataError, "no such path"),
    ],
    ids=str,
)
def test_refused(folder, names, error, words):
    with pytest.raises(error, match=words):
        found_files([folder / name for name in names], [".h5"])


def test_a_folder_without_such_files(folder):
    with pytest.raises(DataError, match=r"files ending in \.root, got none in this folder"):
        found_files(folder, [".root"])


def test_a_manifest_of_raw_files_pins_them(folder, tmp_path):
    pinned = tmp_path / "pinned"
    pinned.mkdir()
    files = [folder / "deep" / "a.npz", folder / "deep" / "c.npz"]
    for path in files:
        np.savez(path, X=np.ones((3, 1, 8, 8)), y=np.zeros(3))
    manifest.write_raw_manifest(pinned, str(folder / "deep"))
    assert manifest.image_files([pinned]) == files
    assert manifest.image_files(pinned) == files
    assert manifest.data_name(pinned) == "files"
    files[1].write_bytes(b"other")
    with pytest.raises(DataError, match="changed since"):
        manifest.image_files([pinned])


def test_official_jets_by_name(tmp_path, monkeypatch):
    from holdfast.data.official import FILES, is_present

    monkeypatch.setenv("HOLDFAST_DATA", str(tmp_path / "data"))
    assert not is_present("quark-gluon")
    inside = tmp_path / "data" / "quark-gluon"
    inside.mkdir(parents=True)
    for name in FILES["quark-gluon"]:
        (inside / name).write_bytes(name.encode())
    assert is_present("quark-gluon")
    pinned = tmp_path / "pinned"
    pinned.mkdir()
    manifest.write_raw_manifest(pinned, "quark-gluon")
    assert manifest.data_name(pinned) == "quark-gluon"
    assert manifest.image_files(pinned) == [inside / name for name in FILES["quark-gluon"]]
    (inside / FILES["quark-gluon"][0]).unlink()
    assert not is_present("quark-gluon")
