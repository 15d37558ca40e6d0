import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import holdfast
from holdfast.cli import output
from holdfast.cli.app import DOMAIN_VERBS, app
from holdfast.core.result import Interval, Record

VERSION, PACKAGE = holdfast.__version__, Path(holdfast.__file__).parent
VERBS = {command.name or command.callback.__name__ for command in app.registered_commands}


def test_the_issue_s_verbs_are_all_there():
    wanted = (
        "doctor list show search validate run explain tune frontier report "
        "train prune pack protect stress bench version "
        "calibrate convert curves detect ensemble experiments explore graph pretrain quantize query replay "
        "access act install lock new publish pull remove test"
    )
    assert set(wanted.split()) == VERBS


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_explains_itself_with_an_example(holdfast, verb):
    text = holdfast(verb, "--help").stdout
    assert f"Example: holdfast {verb}" in text
    assert "--json" in text


@pytest.mark.parametrize("verb", DOMAIN_VERBS)
def test_a_domain_verb_lists_its_program_s_inputs(holdfast, verb):
    text = re.sub(r"\s+", " ", holdfast(verb, "--help").stdout)
    program = json.loads(holdfast("show", f"program:{verb}", "--json").stdout)
    positional = program["cli"]["positional"]
    for name, declared in program["inputs"].items():
        option = name.upper() if name in positional else f"--{name.replace('_', '-')}"
        assert f"{option} {declared['description']}" in text
        assert all(str(choice) in text for choice in declared.get("choices") or ())


def test_help_imports_no_heavy_package():
    code = (
        "import sys, holdfast.cli.app; print([m for m in ('torch', 'numpy', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_version(holdfast):
    assert holdfast("version").stdout.strip() == VERSION
    assert json.loads(holdfast("version", "--json").stdout) == {"version": VERSION}


def test_doctor_names_the_native_core_and_the_extras(holdfast):
    found = json.loads(holdfast("doctor", "--json").stdout)
    assert found["native core"]["state"] in ("ok", "absent")
    assert {"torch", "extra report", "home", "data"} <= found.keys()


def test_list_and_search_find_the_flagship(holdfast):
    listed = json.loads(holdfast("list", "workflow", "--json").stdout)
    found = json.loads(holdfast("search", "hardened", "--json").stdout)
    assert "egamma-hardened" in {item["name"] for item in listed}
    assert {item["name"] for item in found} == {"egamma-hardened"}


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        pytest.param(["show", "workflow:egamma-hardend"], 3, "did you mean", id="unknown component"),
        pytest.param(["run", "workflow:digits-train", "--rate", "1"], 2, "lr", id="unknown input"),
        pytest.param(["run", "workflow:digits-train", "--epochs", "none"], 2, "epochs", id="wrong type"),
        pytest.param(["validate", "nowhere"], 2, "nowhere", id="no such folder"),
        pytest.param(
            ["frontier", "nothing", "--objective", "auc"], 2, "METRIC:min", id="objective without direction"
        ),
        pytest.param(["report", "nothing-recorded"], 2, "nothing-recorded", id="no such experiment"),
    ],
)
def test_mistakes_end_in_one_line_and_a_documented_code(holdfast, words, code, message):
    done = holdfast(*words, check=False)
    assert done.returncode == code
    assert message in done.stderr
    assert done.stderr.startswith("holdfast: ")
    assert "Traceback" not in done.stderr


def test_errors_are_json_where_json_is_asked_for(holdfast):
    done = holdfast("show", "program:nothing", "--json", check=False)
    assert json.loads(done.stdout)["exit_code"] == done.returncode == 3


def test_validate_accepts_the_built_in_repository(holdfast):
    assert "valid" in holdfast("validate", PACKAGE / "components").stdout


def test_a_record_is_told_in_one_line():
    interval = Interval(low=0.9, high=0.98, level=0.95, method="wilson")
    record = Record(
        metric="critical_sdc_rate", value=0.95, unit="1", direction="lower", interval=interval, n=9
    )
    assert output.in_words(record) == "critical sdc rate: 0.95 [0.9, 0.98]"
    labels = {"model": "cnn", "strata": 4}
    planned = Record(metric="planned_trials", value=29, unit="trials", direction="none", labels=labels)
    assert output.in_words(planned) == "planned trials: 29 trials (model cnn, strata 4)"
