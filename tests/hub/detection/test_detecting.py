"""Whole detections: several installations, broken ones, all plugins at once."""

import json
import threading

import pytest
from detection_support import says, script

from holdfast.core.errors import UnknownNameError, UsageError
from holdfast.hub import detection, repository
from holdfast.hub.accessing import access
from holdfast.hub.detection import sandbox

PATTERN = r"toy (?P<version>\S+)"
TOY = {"binaries": ["toy", "toy-[0-9]"], "command": ["{binary}", "--version"], "pattern": PATTERN}


def test_all_installations_are_found_each_once(machine):
    other = machine.root / "other"
    says(machine.bin / "toy", "toy 1.0")
    (machine.bin / "toy-1").symlink_to("toy")
    says(machine.bin / "toy-2", "toy 2.0")
    says(other / "toy", "toy 1.0")
    (machine.root / "again").symlink_to(other)
    plugin = machine.plugin(paths=[str(other), str(machine.root / "again")], **TOY)
    found = detection.detect(plugin)
    assert [(each.version, each.path) for each in found] == [
        ("1.0", machine.bin / "toy"),
        ("2.0", machine.bin / "toy-2"),
        ("1.0", other / "toy"),
    ]
    assert found[0].also == (str(machine.bin / "toy-1"),)
    assert str(found[0].parsed) == "1.0"
    assert found[0].how == f"in {machine.bin}"


def test_header_and_library_of_one_folder_are_one_installation(machine):
    prefix = machine.root / "opt"
    (prefix / "include").mkdir(parents=True)
    (prefix / "include/toy.h").write_text("toy 1.0 \n")
    (prefix / "libtoy-1.0.so").touch()
    plugin = machine.plugin(
        files=["include/toy.h", "libtoy*"], paths=[str(prefix)], pattern=r"toy[ -](?P<version>\d\.\d)"
    )
    (found,) = detection.detect(plugin)
    assert (found.path, found.also) == (prefix / "include/toy.h", (str(prefix / "libtoy-1.0.so"),))


def test_what_does_not_answer_is_told_and_harms_nobody(machine):
    says(machine.bin / "toy", "toy 1.0")
    script(machine.bin / "toy-1", "exec /bin/sleep 1000")
    script(machine.bin / "toy-2", "exec /usr/bin/head -c 100000000 /dev/zero")
    script(machine.bin / "toy-3", "echo broken; exit 4")
    says(machine.bin / "toy-4", "something else 1.0")
    (machine.bin / "toy-5").write_text("#!/no/such/interpreter\n")
    (machine.bin / "toy-5").chmod(0o755)
    outcome = detection.outcome(machine.plugin(timeout_s=1, **TOY))
    assert [found.version for found in outcome.found] == ["1.0"]
    problems = " | ".join(outcome.problems)
    for words in (
        "no answer within 1 s",
        "64 KiB of output",
        "exit code 4: broken",
        "no version in 'something",
    ):
        assert words in problems
    assert len(outcome.problems) == 5
    assert "toy, toy-[0-9] on PATH" in outcome.looked[0]


def test_variables_for_who_uses_it(machine):
    says(machine.bin / "toy", "toy 1.0")
    plugin = machine.plugin(environment={"CC": "{binary}", "HOME_OF": "{folder}/..", "V": "{version}"}, **TOY)
    (found,) = detection.detect(plugin)
    assert found.environment == {"CC": str(found.path), "HOME_OF": f"{machine.bin}/..", "V": "1.0"}


def test_a_version_that_nobody_can_compare_is_found_all_the_same(machine):
    says(machine.bin / "toy", "toy r2024b-final")
    (found,) = detection.detect(machine.plugin(**TOY))
    assert (found.version, found.parsed) == ("r2024b-final", None)


def test_json_and_back(machine):
    says(machine.bin / "toy", "toy 1.0")
    (found,) = detection.detect(machine.plugin(**TOY))
    assert detection.Found.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_the_one_call_detects_too(machine, monkeypatch):
    says(machine.bin / "toy", "toy 1.0")
    machine.plugin(**TOY)
    monkeypatch.setenv("HOLDFAST_REPO", str(machine.root / "repo"))
    answer = access({"action": "detect", "module_uoa": "soft", "data_uoa": "toy"})
    assert (answer["return"], answer["outcomes"][0]["found"][0]["version"]) == (0, "1.0")
    assert json.dumps(answer)
    assert access({"action": "detect", "cid": "soft:toy", "colour": 1})["return"] == 2
    own = [each for each in repository.list_components("soft") if each.repository == "project"]
    monkeypatch.setattr(repository, "list_components", lambda kind: own)
    for request in ({}, {"kind": "soft"}, {"refresh": True}):
        assert [each["component"] for each in access({"action": "detect"} | request)["outcomes"]] == [
            "soft:toy"
        ]


def test_inputs_are_checked(machine):
    plugin = machine.plugin(inputs={"name": {"type": "string"}}, binaries=["{inputs.name}"])
    for inputs in ({}, {"nmae": "x"}):
        with pytest.raises(UsageError, match="name"):
            detection.detect(plugin, inputs=inputs)
    with pytest.raises(UnknownNameError, match="did you mean"):
        detection.detect("soft:gccc")


def test_commands_are_never_read_by_a_shell(machine):
    says(machine.bin / "toy", "toy 1.0")
    mark = machine.root / "mark"
    plugin = machine.plugin(**(TOY | {"command": ["{binary}", f"; touch {mark}", f"$(touch {mark})"]}))
    assert len(detection.detect(plugin)) == 1
    assert not mark.exists()


def test_everything_at_once_survives_a_broken_plugin(machine, monkeypatch):
    monkeypatch.setenv("HOLDFAST_REPO", str(machine.root / "repo"))
    says(machine.bin / "toy", "toy 1.0")
    machine.plugin(**TOY)
    machine.plugin("needy", inputs={"name": {"type": "string"}}, binaries=["{inputs.name}"])
    machine.plugin("broken", binaries=["toy"], command=["{binary}"], hook="gone.py:read")
    own = [each for each in repository.list_components("soft") if each.repository == "project"]
    monkeypatch.setattr(repository, "list_components", lambda kind: own)
    outcomes = {each.component: each for each in detection.outcome_of_all(pythons=[])}
    assert [found.version for found in outcomes["soft:toy"].found] == ["1.0"]
    assert "name" in outcomes["soft:needy"].problems[0]
    assert "gone.py" in outcomes["soft:broken"].problems[0]


def test_no_thread_and_no_process_is_left(machine, monkeypatch):
    monkeypatch.setenv("MARK", str(machine.root))
    script(machine.bin / "toy", "/bin/sleep 1000 & echo toy 1.0")
    detection.detect(machine.plugin(**TOY))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("detect")]
    assert not [pid for pid in sandbox._pids() if f"MARK={machine.root}".encode() in _environ(pid)]


def _environ(pid):
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read()
    except OSError:
        return b""
