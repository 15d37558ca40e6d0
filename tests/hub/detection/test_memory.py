"""What is remembered, and when it no longer counts."""

import json
import os

import pytest
from detection_support import distribution, interpreter, says

from holdfast.hub import detection

VERSION = r"toy (?P<version>\S+)"


def tool(path, version, size=0):
    """A binary to whoever looks at its first bytes: it is asked only when its file has changed."""
    path.write_bytes(f"toy {version}\n".encode() + b"\0" * size)
    path.chmod(0o755)


@pytest.fixture
def toy(machine):
    tool(machine.bin / "toy", "1.0")
    return machine.plugin(binaries=["toy", "toy-[0-9]"], pattern=VERSION)


def counted(monkeypatch):
    """The paths whose content is read from now on."""
    from holdfast.hub.detection import asking

    read, original = [], asking.read_file
    monkeypatch.setattr(
        asking, "read_file", lambda pattern, path: read.append(path) or original(pattern, path)
    )
    return read


def test_an_untouched_binary_is_not_asked_again(machine, toy, monkeypatch):
    before = detection.outcome(toy)
    read = counted(monkeypatch)
    assert detection.outcome(toy) == before
    assert read == before.notes == []
    assert before.found[0].binary_hash is not None


def test_refresh_asks_again(machine, toy, monkeypatch):
    detection.detect(toy)
    read = counted(monkeypatch)
    assert len(detection.detect(toy, refresh=True)) == len(read) == 1


def test_a_changed_binary_is_detected_anew_and_said_so(machine, toy):
    detection.detect(toy)
    tool(machine.bin / "toy", "2.0")
    changed = detection.outcome(toy)
    assert [found.version for found in changed.found] == ["2.0"]
    assert len(changed.notes) == 1
    assert "was version 1.0 and is 2.0" in changed.notes[0]
    assert detection.outcome(toy).notes == []


def test_another_content_of_the_same_version_is_said_too(machine, toy):
    before = detection.detect(toy)
    tool(machine.bin / "toy", "1.0", size=1)
    after = detection.outcome(toy)
    assert after.found[0].binary_hash != before[0].binary_hash
    assert "has another content" in after.notes[0]


def test_a_change_that_keeps_size_and_time_is_seen(machine, toy):
    detection.detect(toy)
    path = machine.bin / "toy"
    times = path.stat()
    tool(path, "9.0")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert path.stat().st_size == times.st_size
    assert detection.detect(toy)[0].version == "9.0"


def test_what_vanished_is_said_and_forgotten(machine, toy):
    detection.detect(toy)
    (machine.bin / "toy").unlink()
    gone = detection.outcome(toy)
    assert gone.found == []
    assert "toy (version 1.0) is gone" in gone.notes[0]
    assert detection.outcome(toy).notes == []


def test_what_is_new_is_found_beside_what_is_remembered(machine, toy):
    detection.detect(toy)
    tool(machine.bin / "toy-2", "2.0")
    both = detection.outcome(toy)
    assert [found.version for found in both.found] == ["1.0", "2.0"]
    assert both.notes == []


def test_a_changed_plugin_asks_again(machine, toy):
    detection.detect(toy)
    changed = machine.plugin(binaries=["toy"], pattern=r"toy (?P<version>\d+)")
    assert [found.version for found in detection.detect(changed)] == ["1"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"schema": "holdfast.detected/1"}', '{"schema": 1, "answers": {}}']
)
def test_a_damaged_memory_is_written_anew(machine, toy, text):
    before = detection.detect(toy)
    (file,) = (machine.home / "detected").iterdir()
    file.write_text(text)
    assert [found.path for found in detection.detect(toy)] == [before[0].path]
    assert json.loads(file.read_text())["answers"]


def test_where_nothing_can_be_remembered_detection_still_works(machine, toy):
    (machine.home).mkdir()
    (machine.home / "detected").write_text("a file where the folder would be")
    assert len(detection.detect(toy)) == 1


def test_a_script_is_asked_each_time(machine):
    says(machine.bin / "toy", "toy 1.0")
    target = machine.root / "version"
    target.write_text("toy 1.0")
    (machine.bin / "toy").write_text(f"#!/bin/sh\n/bin/cat {target}\n")
    plugin = machine.plugin(binaries=["toy"], command=["{binary}"], pattern=VERSION)
    assert detection.detect(plugin)[0].version == "1.0"
    target.write_text("toy 2.0")
    outcome = detection.outcome(plugin)
    assert outcome.found[0].version == "2.0"
    assert "was version 1.0 and is 2.0" in outcome.notes[0]


def test_an_updated_distribution_is_said(machine):
    site = machine.root / "site"
    plugin = machine.plugin(python=["toy"])
    record = distribution(site, "toy", "1.0")
    python = interpreter(machine.root / "python", site)
    assert detection.detect(plugin, pythons=[python])[0].version == "1.0"
    for file in record.parent.iterdir():
        file.unlink()
    record.parent.rmdir()
    distribution(site, "toy", "1.1")
    outcome = detection.outcome(plugin, pythons=[python])
    assert outcome.found[0].version == "1.1"
    assert "was version 1.0 and is 1.1" in outcome.notes[0]


def test_inputs_have_a_memory_of_their_own(machine):
    for name in ("a", "b"):
        tool(machine.bin / name, f"1.{ord(name)}")
    plugin = machine.plugin(
        inputs={"which": {"type": "string"}}, binaries=["{inputs.which}"], pattern=VERSION
    )
    for _ in range(2):
        for name in ("a", "b"):
            outcome = detection.outcome(plugin, inputs={"which": name})
            assert [found.path.name for found in outcome.found] == [name]
            assert outcome.notes == []
