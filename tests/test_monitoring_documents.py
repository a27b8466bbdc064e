"""The dashboard, the alert rules and the document about them use metrics and labels that are served."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from asyncwork import Heartbeat, JobCounts, LimitInfo
from asyncwork._health.namespace_metrics import namespace_metrics
from asyncwork._health.process_metrics import process_metrics

from .architecture import ROOT
from .test_process_metrics import Samples, overview, parse, report

DOCS = ROOT / "docs"
# Labels that Prometheus adds to each series.
OF_PROMETHEUS = {"instance"}


@pytest.fixture(scope="module")
def served() -> Samples:
    pool = Heartbeat("p", 1, 1, (), 1, (), "host", 1, version_label="v1")
    now = overview(heartbeats=[pool])
    return parse(process_metrics(report()) + namespace_metrics("my_app", now, JobCounts(), limits=[LimitInfo("llm")]))


def labels_of(served: Samples, name: str) -> set[str]:
    return {label for labels in served[name] for label, _ in labels} | OF_PROMETHEUS


def dashboard() -> Any:
    return json.loads((DOCS / "grafana.json").read_text(encoding="utf-8"))


def rules() -> list[Any]:
    (group,) = yaml.safe_load((DOCS / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    found: list[Any] = group["rules"]
    return found


def expressions() -> list[str]:
    targets = [target for panel in dashboard()["panels"] for target in panel.get("targets", ())]
    blocks = re.findall(r"^ +query: (.*)$", (DOCS / "monitoring.md").read_text(encoding="utf-8"), re.MULTILINE)
    return [*(rule["expr"] for rule in rules()), *(target["expr"] for target in targets), *blocks]


def check(served: Samples, expression: str) -> None:
    """Check the metrics of an expression, the labels that it selects by, and those that it groups by."""
    metrics = re.findall(r"\b(asyncwork_\w+)(?:\{([^}]*)\})?", expression)
    assert metrics, expression
    for name, selector in metrics:
        assert name in served, expression
        assert set(re.findall(r"(\w+)[=!]", selector)) <= labels_of(served, name), expression
        for label, value in re.findall(r'(\w+)="([^"]*)"', selector):
            assert any((label, value) in labels for labels in served[name]), expression
    known = set().union(*(labels_of(served, name) for name, _ in metrics))
    for group in re.findall(r"by \(([^)]*)\)", expression):
        assert set(re.split(r", *", group)) <= known, expression


def test_the_expressions_use_what_is_served(served: Samples) -> None:
    found = expressions()
    assert len(found) > 40
    for expression in found:
        check(served, expression)


@pytest.mark.parametrize(
    "wrong",
    [
        "sum(asyncwork_nothing)",
        'max(asyncwork_namespace_jobs{place="dead"})',
        'max(asyncwork_namespace_jobs{location="death"})',
        "sum by (name) (rate(asyncwork_jobs_total[5m]))",
    ],
)
def test_a_wrong_expression_is_found(served: Samples, wrong: str) -> None:
    with pytest.raises(AssertionError):
        check(served, wrong)


def test_the_document_describes_each_metric(served: Samples) -> None:
    text = (DOCS / "monitoring.md").read_text(encoding="utf-8")
    described = {
        name: set(filter(None, labels.split(",")))
        for row in re.findall(r"^\| (`asyncwork_[^|]*) \|", text, re.MULTILINE)
        for name, labels in re.findall(r"`(asyncwork_\w+)(?:\{([\w,]*)\})?`", row)
    }
    there: dict[str, set[str]] = {}
    for name in served:
        family = re.sub(r"_(bucket|sum|count)$", "", name)
        there[family] = labels_of(served, name) - OF_PROMETHEUS - {"le"}
    assert described == there
    assert set(re.findall(r"asyncwork_\w*\w", text)) <= {*served, *there, "asyncwork_namespace_"}


def test_the_rules_have_what_a_person_needs() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    assert {"JobsWaitTooLong", "NoPool", "DeadJobsGrow", "LoopBlocked", "RedisAway"} <= set(names)
    for rule in rules():
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]
    text = (DOCS / "alerts.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| ([A-Z]\w+) \|", text, re.MULTILINE)) == sorted(names)


def test_the_dashboard_is_one() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        position = panel["gridPos"]
        assert position["x"] + position["w"] <= 24
        if panel["type"] != "row":
            assert panel["title"]
            assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
    assert [each["name"] for each in dashboard()["templating"]["list"]] == ["datasource"]


def test_the_yaml_of_the_documents_is_valid() -> None:
    texts = [(DOCS / name).read_text(encoding="utf-8") for name in ("monitoring.md", "deployment.md")]
    blocks = [yaml.safe_load(block) for text in texts for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    assert [set(block) & {"services", "scrape_configs", "kind"} for block in blocks] == [
        *({"scrape_configs"}, {"kind"}, {"services"}, {"kind"})
    ]
    (container,) = blocks[3]["spec"]["template"]["spec"]["containers"]
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert container["readinessProbe"]["httpGet"]["path"] == container["startupProbe"]["httpGet"]["path"] == "/readyz"


@pytest.mark.processes
def test_prometheus_accepts_all_of_it(tmp_path: Path) -> None:
    if not shutil.which("promtool"):
        reason = "there is no promtool on this machine (apt install prometheus)"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    queries = tmp_path / "queries.yml"
    texts = [each.replace("$__rate_interval", "5m") for each in expressions()]
    each = [{"record": f"expression:{number}", "expr": text} for number, text in enumerate(texts)]
    queries.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": each}]}))
    for file in (queries, DOCS / "alerts.yml"):
        done = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    for text in (process_metrics(report()), namespace_metrics("my_app", overview(), JobCounts())):
        done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")
