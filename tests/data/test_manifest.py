import json
import shutil

import pytest

from holdfast import data
from holdfast.core.errors import DataError, UnknownNameError
from holdfast.data.manifest import write_manifest

SPLITS = ("train", "val", "test")


def events(stream):
    return {int(t) for x, _ in stream.batches(64) for t in x[:, 1, 0, 0]}


def test_a_manifest_opens_what_it_pins(tmp_path, two_files):
    path = write_manifest(tmp_path / "pinned", two_files, seed=4)
    assert path == tmp_path / "pinned" / "dataset.json"
    direct = data.open(two_files, split="val", seed=4)
    for source in (path.parent, str(path.parent), path):
        pinned = data.open(source, split="val", seed=9)
        assert pinned.info == direct.info
        assert events(pinned) == events(direct)


def test_the_opening_seed_shuffles_and_does_not_split(tmp_path, two_files):
    write_manifest(tmp_path / "pinned", two_files, seed=4)
    one, two = (data.open(tmp_path / "pinned", seed=seed) for seed in (1, 2))
    assert events(one) == events(two)
    first, second = (next(iter(s.batches(64, shuffle=True)))[0][:, 1, 0, 0].tolist() for s in (one, two))
    assert first != second


def test_a_limit_is_of_all_splits_together_and_does_not_leak(tmp_path, two_files):
    write_manifest(tmp_path / "pinned", two_files, limit=100, seed=1)
    parts = {split: events(data.open(tmp_path / "pinned", split=split)) for split in SPLITS}
    assert sum(map(len, parts.values())) == len(set().union(*parts.values())) == 100
    for split in SPLITS:
        assert parts[split] <= events(data.open(two_files, split=split, seed=1))
    everything = data.open(tmp_path / "pinned", split="all").info
    assert everything.counts == {"photon": 50, "electron": 50}


def test_files_inside_move_with_the_manifest(tmp_path, two_files):
    write_manifest(two_files, two_files)
    moved = tmp_path / "moved"
    shutil.move(two_files, moved)
    assert data.open(moved, split="all").info.n == 602


def test_the_same_content_pins_the_same(tmp_path, two_files):
    write_manifest(two_files, two_files)
    first = (two_files / "dataset.json").read_text()
    copy = tmp_path / "copy"
    shutil.copytree(two_files, copy, ignore=shutil.ignore_patterns("*.json"), copy_function=shutil.copyfile)
    write_manifest(copy, copy)
    assert (copy / "dataset.json").read_text() == first


def test_named_sets_are_pinned_by_content(tmp_path):
    write_manifest(tmp_path, "digits", limit=300, seed=2)
    assert data.open(tmp_path, split="all").info.n == 300
    pinned = json.loads((tmp_path / "dataset.json").read_text())
    assert pinned["files"] == []
    pinned["fingerprint"] = "0" * 64
    (tmp_path / "dataset.json").write_text(json.dumps(pinned))
    with pytest.raises(DataError, match="got other content"):
        data.open(tmp_path)


@pytest.mark.parametrize("damage", ["changed", "resized", "removed"])
def test_a_changed_file_is_noticed(tmp_path, two_files, damage):
    write_manifest(tmp_path / "pinned", two_files)
    victim = two_files / "SinglePhoton.hdf5"
    content = bytearray(victim.read_bytes())
    if damage == "changed":
        content[-1] ^= 1
        victim.write_bytes(content)
    elif damage == "resized":
        victim.write_bytes(content + b"x")
    else:
        victim.unlink()
    with pytest.raises(DataError, match="that the manifest pins"):
        data.open(tmp_path / "pinned")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected a holdfast.dataset/1 object"),
        ("[]", "expected a holdfast.dataset/1 object"),
        ('{"schema": "holdfast.dataset/2", "name": "digits", "fingerprint": ""}', "schema"),
        ('{"name": "digits", "fingerprint": "", "extra": 1}', "extra"),
        ('{"name": "digits", "fingerprint": "", "limit": 0}', "limit"),
    ],
    ids=["no JSON", "no object", "other version", "unknown key", "bad limit"],
)
def test_damaged_manifests(tmp_path, text, message):
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(DataError, match=message):
        data.open(tmp_path)


def test_bad_sources_leave_no_manifest(tmp_path):
    with pytest.raises(UnknownNameError):
        write_manifest(tmp_path / "pinned", "nosuchset")
    with pytest.raises(DataError):
        write_manifest(tmp_path / "pinned", "nowhere.hdf5")
    assert not (tmp_path / "pinned").exists()
