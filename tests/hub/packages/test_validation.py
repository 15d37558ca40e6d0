"""What ``validate`` says of packages and needs."""

from __future__ import annotations

import pytest

from holdfast.hub import validate
from holdfast.hub.repository import repositories

URL = {"url": "https://x.org/a.rar", "unpack": True}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"sources": [URL]}, "an archive: tar, zip or gz"),
        ({"generate": {"uses": "program:nothing"}}, "nothing"),
        ({"generate": {"uses": "program:simulate", "with": {"evnts": 3}}}, "evnts"),
        ({"generate": {"uses": "program:simulate", "with": {"events": "many"}}}, "many"),
        ({"files": [{"names": ["../x"]}]}, "without '..'"),
        ({"files": [{"names": []}]}, "at least 1 item"),
        ({"pip": ["numpy>=2"]}, "pattern"),
        ({"pip": ["numpy==2.0"], "files": [{"names": ["x"]}]}, "exactly one"),
        ({}, "exactly one"),
        ({"files": [{"names": ["x"]}], "needs": {"n": {"uses": "soft:icc"}}}, "soft:icc"),
        ({"files": [{"names": ["x"]}], "needs": {"n": {"tags": ["no-such-tag"]}}}, "no-such-tag"),
        ({"files": [{"names": ["x"]}], "provides": {"y": "../y"}}, "without '..'"),
        ({"sources": [{"url": "https://x.org/a", "sha256": "abc"}]}, "sha256"),
    ],
)
def test_a_wrong_package_is_explained(packages, fields, words):
    packages.write("p", **fields)
    (problem,) = validate(packages.root)
    assert words in str(problem)


def test_the_shipped_packages_are_valid():
    root = repositories()[-1].root
    assert [problem for folder in (root / "package").iterdir() for problem in validate(folder)] == []
