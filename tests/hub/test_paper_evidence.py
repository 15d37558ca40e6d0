"""What a paper shows beside its claims: evidence for badges, appendix, checklist, records."""

from __future__ import annotations

import json
import re

import pytest

from holdfast.core.result import ComponentRef, Record
from holdfast.hub import find, paper, store
from holdfast.hub.appendix import appendix, checklist
from holdfast.hub.badges import badges
from holdfast.hub.paper_context import context_of
from holdfast.hub.run_record import Run, new_id, save

CLAIM = {
    "id": "c",
    "text": "A claim",
    "source": "Table 1",
    "value": 4.0,
    "unit": "1",
    "status": "reproduced at source scale",
    "workflow": "workflow:chain",
    "record": {"metric": "sum", "labels": {"a": 2}},
}


def keep(component, inputs=None, files=None, **fields):
    started = "2026-01-01T00:00:00+00:00"
    made = Run(new_id(component), component, "1.0.0", "0", inputs or {}, started, **fields)
    save(made, files)
    return made


@pytest.fixture
def made(toys):
    """A paper of one claim, whose workflow was run once by hand and never replayed."""
    toys.chain()
    toys.component("paper", "p", claims=[CLAIM], workflow="workflow:chain", description="Of sums")
    reference = {"workflow:chain": ComponentRef(version="1.0.0", hash="0")}
    record = Record(
        metric="sum", value=4.0, unit="1", direction="higher", labels={"a": 2}, seed=1, components=reference
    )
    return keep("workflow:chain", {"a": 2}, records=[record], seconds=3.0)


def weighed():
    component = find("paper:p")
    context = context_of(component)
    rows = paper.rows(component)
    return context, rows, {badge.name: badge for badge in badges(context, rows)}


def test_evidence_is_what_exists_and_the_rest_is_missing(made):
    context, _, found = weighed()
    assert [run["id"] for run in context.runs] == [made.id]
    assert list(found) == [
        "Artifacts Available",
        "Artifacts Evaluated: Functional",
        "Artifacts Evaluated: Reusable",
        "Results Reproduced",
        "Results Replicated",
    ]
    available = found["Artifacts Available"]
    assert available.evidence[0].startswith("4 components by version and content hash")
    assert available.missing == ["a licence", "the DOI or address of an archive that holds it"]
    assert f"1 run of 1 ended well, on 1 host; the newest is {made.id}" in (
        found["Artifacts Evaluated: Functional"].evidence
    )
    assert "1 of 1 claim reproduced at source scale" in found["Results Reproduced"].evidence
    assert any("(0 tried)" in text for text in found["Results Reproduced"].missing)
    # No badge is ever without something that only people can say.
    assert all(badge.missing for badge in found.values())


def test_replays_on_this_host_are_not_replays_elsewhere(made, monkeypatch):
    answer = {"replay.json": json.dumps({"verdict": "reproduced"})}
    keep("workflow:replay-chain", {"experiment": made.id}, answer)
    keep("workflow:replay-chain", {"experiment": "another"}, answer)
    _, _, found = weighed()
    reproduced = found["Results Reproduced"]
    assert "1 of 1 replay on the same host came out the same" in reproduced.evidence
    assert any("(0 tried)" in text for text in reproduced.missing)
    monkeypatch.setattr("holdfast.core.environment.host", lambda: "elsewhere")
    keep("workflow:replay-chain", {"experiment": made.id}, answer)
    _, _, found = weighed()
    assert "1 of 1 replay on other hosts came out the same: elsewhere" in found["Results Reproduced"].evidence


def test_failures_and_what_is_stated_count(made, toys):
    keep("workflow:chain", {"a": 3}, status="failed")
    fields = {
        "license": "MIT",
        "archive": "https://doi.org/10.5281/zenodo.1",
        "independence": "from the text",
    }
    toys.component("paper", "p", claims=[CLAIM], workflow="workflow:chain", **fields)
    context, _, found = weighed()
    assert (len(context.runs), len(context.good)) == (2, 1)
    assert "licence MIT" in found["Artifacts Available"].evidence
    assert any("zenodo" in text for text in found["Artifacts Available"].evidence)
    assert "stated: from the text" in found["Results Replicated"].evidence


def test_a_paper_whose_workflow_is_gone_still_shows_its_claims(toys, tmp_path):
    claim = {**CLAIM, "workflow": "workflow:gone"}
    toys.component("paper", "p", claims=[claim], workflow="workflow:gone")
    _, rows, found = weighed()
    assert rows[0].status == "not run"
    assert any("workflow:gone" in text for text in found["Artifacts Evaluated: Functional"].missing)
    paper.write(find("paper:p"), tmp_path / "p.html")


def test_appendix_and_checklist_are_answered_from_records(made):
    context, rows, _ = weighed()
    sections = {section.heading: section.lines for section in appendix(context, rows)}
    assert any(line.startswith("Time to complete: 3 s in run") for line in sections["Artifact check-list"])
    assert "--a: integer" in sections["Experiment customisation"]
    answers = {item.question: item for item in checklist(context, rows, made.records)}
    assert answers["Is every claim measured?"].answer == "yes"
    assert answers["Do results carry error bars?"].answer == "no"
    assert answers["Are random seeds given?"].evidence == "1 of 1 records name their seed"
    assert answers["Are all dependencies pinned?"].answer == "partly"
    assert answers["Is there a licence?"].answer == "no"
    assert {item.answer for item in checklist(context, [], [])} >= {"unknown"}


def test_every_number_leads_to_its_record_and_every_figure_to_its(made, toys, tmp_path):
    figures = [
        {"id": "f1", "title": "Sums", "output": "sums.svg", "records": [{"metric": "sum"}]},
        {"id": "f2", "title": "Not made", "output": "gone.svg"},
    ]
    toys.component("paper", "p", claims=[CLAIM], workflow="workflow:chain", figures=figures)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/sums.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    paper.write(find("paper:p"), tmp_path / "out/p.html", store.entries())
    html = (tmp_path / "out/p.html").read_text()
    uid = made.records[0].uid
    assert html.count(f'href="#record-{uid}"') == 2
    assert f'id="record-{uid}"' in html
    assert '<img src="sums.svg" alt="Sums">' in html
    assert "Not made <span" in html
    (link,) = re.findall(r'href="([^"]*records\.jsonl)"', html)
    assert (tmp_path / "out" / link).resolve() == made.folder / "records.jsonl"
    # Every link within the page has its target.
    anchors = set(re.findall(r'href="#([^"]+)"', html))
    assert anchors <= set(re.findall(r'id="([^"]+)"', html))


def test_running_a_paper_leaves_both_texts(made, tmp_path):
    made.out = tmp_path / "out"
    made.write(made.out)
    paper.write_beside(find("paper:p"), made)
    assert "# Artifact Appendix" in (made.out / paper.APPENDIX).read_text()
    table = (made.out / paper.CHECKLIST).read_text()
    assert len([line for line in table.splitlines() if line.startswith(("| Is", "| Are"))]) > 10
