import re

import pytest
from detection_support import says

from holdfast.core.errors import ComponentError
from holdfast.hub import detection

PATTERN = r"toy (?P<version>\S+)"


def outcome(machine, code, **fields):
    says(machine.bin / "toy", "toy 1.0")
    fields = {"binaries": ["toy"], "command": ["{binary}"], "pattern": PATTERN, "timeout_s": 20.0} | fields
    plugin = machine.plugin(code={"hook.py": code}, hook="hook.py:read", **fields)
    return detection.outcome(plugin)


def test_a_hook_is_told_what_was_found_and_makes_the_version(machine):
    code = (
        "def read(path, real, text, version):\n    return f'{len(text)}.{version}' if path == real else None"
    )
    assert outcome(machine, code).found[0].version == "8.1.0"


def test_a_hook_may_name_another_path_and_set_variables(machine):
    code = (
        "def read(path, **_):\n"
        "    return {'version': '3', 'path': '/bin/sh', 'environment': {'TOY': '{binary} {version}'}}"
    )
    (found,) = outcome(machine, code, environment={"A": "{folder}"}).found
    assert str(found.path) == "/bin/sh"
    assert found.environment == {"A": "/bin", "TOY": "/bin/sh 3"}


def test_a_hook_alone_finds_by_itself(machine):
    code = "def read(**_):\n    return {'version': '5.4', 'path': '/bin/sh'}"
    outcome_ = outcome(machine, code, binaries=[], command=[], pattern=None)
    assert [(str(found.path), found.version) for found in outcome_.found] == [("/bin/sh", "5.4")]


def test_it_runs_isolated_with_the_standard_library_alone(machine, monkeypatch):
    (machine.root / "json.py").write_text("raise SystemExit('not the real one')")
    monkeypatch.setenv("PYTHONPATH", str(machine.root))
    monkeypatch.setenv("SECRET", "x")
    code = (
        "import os, sys\n"
        "def read(**_):\n"
        "    try:\n"
        "        import numpy\n"
        "        return 'numpy'\n"
        "    except ImportError:\n"
        "        return f\"{sys.flags.isolated}.{sys.flags.no_site}.{len(os.environ.get('SECRET', ''))}\"\n"
    )
    assert outcome(machine, code).found[0].version == "1.1.0"


def test_what_it_prints_does_not_disturb(machine):
    code = "print('noise')\ndef read(**_):\n    print('{\"version\": \"9\"}')\n    return '2.0'"
    assert outcome(machine, code).found[0].version == "2.0"


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("def read(**_):\n    return None", "no version"),
        ("def read(**_):\n    return 3", "neither a version nor a dictionary"),
        ("def read(**_):\n    return {'verison': '3'}", "neither a version nor a dictionary"),
        ("def read(**_):\n    return {'version': '3', 'path': '/none'}", "which does not exist"),
        ("def read(**_):\n    raise OSError('boom')", "boom"),
        ("def other(**_):\n    return '3'", "no attribute 'read'"),
        ("import os\ndef read(**_):\n    os._exit(0)", "no answer"),
        ("def read(**_):\n    return len(bytearray(1 << 31))", "MemoryError"),
        ("def read(**_):\n    print('x' * 1000000)", "64 KiB of output"),
        ("def read(**_):\n    open('FILE', 'wb', 0).write(b'x' * 10)", "File too large"),
    ],
)
def test_a_bad_hook_is_a_problem_in_words(machine, code, problem):
    code = code.replace("FILE", str(machine.root / "written"))
    bad = outcome(machine, code)
    assert bad.found == []
    assert re.search(problem, bad.problems[0]), bad.problems
    assert not (machine.root / "written").exists() or not (machine.root / "written").read_text()


def test_one_that_hangs_is_ended(machine):
    code = "import time\ndef read(**_):\n    time.sleep(1000)"
    assert "no answer within 0.5 s" in outcome(machine, code, timeout_s=0.5).problems[0]


@pytest.mark.parametrize("hook", ["../hook.py:read", "missing.py:read", "link.py:read"])
def test_a_hook_outside_of_its_component_is_refused(machine, hook):
    (machine.root / "repo" / "soft" / "toy").mkdir(parents=True)
    (machine.root / "repo" / "soft" / "hook.py").write_text("def read(**_):\n    return '1'")
    (machine.root / "repo" / "soft" / "toy" / "link.py").symlink_to(
        machine.root / "repo" / "soft" / "hook.py"
    )
    says(machine.bin / "toy", "toy 1.0")
    plugin = machine.plugin(binaries=["toy"], pattern=r"(?P<version>toy)", hook=hook)
    with pytest.raises(ComponentError, match="a file of the component"):
        detection.detect(plugin)


def test_a_hook_of_a_pulled_repository_needs_consent(machine):
    says(machine.bin / "toy", "toy 1.0")
    plugin = machine.plugin(
        root=machine.home.resolve() / "repos" / "theirs" / ("0" * 64),
        binaries=["toy"],
        hook="hook.py:read",
        code={"hook.py": f"open({str(machine.root / 'ran')!r}, 'w')\ndef read(**_):\n    return '1'"},
    )
    with pytest.raises(ComponentError, match="consent"):
        detection.detect(plugin)
    assert not (machine.root / "ran").exists()
