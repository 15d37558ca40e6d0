"""What the documentation says runs: every Python block, every example, every command's verb."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import warm
from holdfast.cli.app import app

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
SLOW = ("dask", "cnn_inference_f32")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_python_of_a_page_runs(page, tmp_path):
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    if not blocks:
        pytest.skip("no Python on this page")
    # The blocks of a page build on each other.
    warm.run(["-c", "\n".join(blocks)], tmp_path / "output", tmp_path)


@pytest.mark.parametrize(
    "example",
    [
        pytest.param(path, marks=pytest.mark.slow if any(name in path.name for name in SLOW) else ())
        for path in EXAMPLES
    ],
    ids=lambda path: path.name,
)
def test_an_example_runs(example, tmp_path):
    warm.run([str(example)], tmp_path / "output")


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_the_commands_of_a_page_exist(page):
    verbs = {command.name or command.callback.__name__ for command in app.registered_commands}
    verbs |= {group.name for group in app.registered_groups}
    named = set(re.findall(r"(?:^    |`|/)holdfast ([a-z]+) ", page.read_text(), flags=re.MULTILINE))
    assert named <= verbs


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_links_of_a_page_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_measurements_are_those_of_the_records():
    code = "import sys; sys.path.insert(0, 'docs'); import measurements; print(measurements.page(), end='')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == (ROOT / "docs" / "measurements.md").read_text()
