import os
import subprocess
import sys
import time

import psutil
import pytest

from holdfast.hub.detection import sandbox
from holdfast.hub.detection.sandbox import OUTPUT_BYTES, Sandbox

SH = ("/bin/sh", "-c")


def ask(text, timeout=30.0, **options):
    with Sandbox() as box:
        return box.ask([*SH, text], timeout=timeout, **options)


def wait_until_gone(pid):
    for _ in range(500):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.02)
    raise AssertionError(f"{pid} is still there")


def test_what_a_command_says_on_both_streams_counts():
    answer = ask("echo out; echo err >&2")
    assert sorted(answer.text.split()) == ["err", "out"]
    assert answer.problem is None


def test_stdin_is_closed_the_locale_plain_and_the_folder_neutral(monkeypatch):
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    assert ask("cat; echo $LC_ALL; pwd").text.split() == ["C", "/"]


def test_an_environment_of_its_own(monkeypatch):
    monkeypatch.setenv("SECRET", "x")
    assert ask("echo [$SECRET]", environment={}).text == "[]\n"


def test_no_shell_reads_what_a_command_is_made_of(tmp_path):
    with Sandbox() as box:
        answer = box.ask(["/bin/echo", "$(touch gone); `id`", f"> {tmp_path}/x"], timeout=30)
    assert answer.text == f"$(touch gone); `id` > {tmp_path}/x\n"
    assert list(tmp_path.iterdir()) == []


def test_one_that_hangs_is_ended(tmp_path):
    answer = ask(f"echo $$ > {tmp_path}/pid; echo begun; sleep 1000", timeout=0.5)
    assert answer.problem == "no answer within 0.5 s"
    wait_until_gone(int((tmp_path / "pid").read_text()))


def test_one_that_closes_its_output_and_hangs_is_ended():
    assert ask("exec >&- 2>&-; sleep 1000", timeout=0.3).problem == "no answer within 0.3 s"


def test_one_that_ignores_every_signal_is_ended():
    assert ask("trap '' TERM INT HUP; sleep 1000; sleep 1000", timeout=0.3).problem is not None


def test_one_that_prints_a_gigabyte_is_ended():
    answer = ask("/usr/bin/head -c 1000000000 /dev/zero")
    assert answer.problem == "more than 64 KiB of output"
    assert len(answer.text) <= OUTPUT_BYTES


def test_what_was_said_before_the_end_is_read_whole():
    assert len(ask("/usr/bin/head -c 60000 /dev/zero").text) == 60000


def test_one_that_forks_without_end_is_ended(monkeypatch):
    monkeypatch.setattr(sandbox, "PROCESSES", 8)
    answer = ask("i=0; while [ $i -lt 20 ]; do sleep 1000 & i=$((i+1)); done; wait")
    assert answer.problem == "more than 8 processes"


def test_what_it_leaves_behind_is_ended_and_not_waited_for(tmp_path):
    answer = ask(f"sleep 1000 & echo $! > {tmp_path}/pid; echo 1.2")
    assert answer == sandbox.Answer("1.2\n")
    wait_until_gone(int((tmp_path / "pid").read_text()))


@pytest.mark.skipif(sys.platform != "linux", reason="processes are found by their environment in /proc")
def test_what_escapes_into_a_session_of_its_own_is_ended(tmp_path):
    code = f"/usr/bin/setsid /bin/sh -c 'echo $$ > {tmp_path}/pid; exec sleep 1000' >/dev/null 2>&1 &"
    ask(f"{code} while [ ! -s {tmp_path}/pid ]; do sleep 0.01; done; echo 1.2")
    wait_until_gone(int((tmp_path / "pid").read_text()))


def test_a_large_file_is_not_written(tmp_path):
    ask(f"/usr/bin/head -c 5000000 /dev/zero > {tmp_path}/large")
    assert (tmp_path / "large").stat().st_size <= 1 << 20


@pytest.mark.parametrize(
    ("text", "problem"),
    [("echo no such option; exit 3", "exit code 3: no such option"), ("kill -9 $$", "signal 9")],
)
def test_a_failure_is_a_problem_in_words(text, problem):
    assert ask(text).problem == problem


def test_what_cannot_be_started_is_a_problem():
    with Sandbox() as box:
        assert "not found" in box.ask(["/no/such/thing"], timeout=30).problem
        assert box.ask(["/bin/echo", "a\0b"], timeout=30).problem is not None


def test_it_does_not_outlive_who_asked(tmp_path):
    code = (
        "from holdfast.hub.detection.sandbox import Sandbox\n"
        f"Sandbox().ask(['/bin/sh', '-c', 'echo $$ > {tmp_path}/pid; exec sleep 1000'], timeout=1000)"
    )
    with subprocess.Popen([sys.executable, "-c", code], env={**os.environ}) as process:
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    wait_until_gone(int((tmp_path / "pid").read_text()))
