"""What dashboard, alerts and the page about them name, for tests that hold them against each other."""

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from tests.build_context import ROOT

MONITORING = ROOT / "deploy" / "monitoring"
RULES = MONITORING / "alerts.yaml"
DASHBOARD = MONITORING / "grafana-dashboard.json"
PAGE = ROOT / "docs" / "operations" / "monitoring.md"

_NAME = re.compile(r"\b(?:sealwire|process)_[a-z_]+\b")


def rules() -> list[dict[str, Any]]:
    """Every rule of the file, alerts and recorded ones."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    """By name."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def dashboard() -> dict[str, Any]:
    """The whole file."""
    found: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return found


def panels() -> list[dict[str, Any]]:
    """Every panel of the dashboard, rows too."""
    found: list[dict[str, Any]] = dashboard()["panels"]
    return found


def expressions() -> Iterator[tuple[str, str]]:
    """Where a PromQL expression stands, and the expression with values in place of Grafana's variables."""
    for rule in rules():
        yield str(rule.get("alert") or rule["record"]), str(rule["expr"])
    for panel in panels():
        for target in panel.get("targets", ()):
            expr = (
                target["expr"]
                .replace("$__rate_interval", "5m")
                .replace("$job", "a")
                .replace("$instance", "b")
            )
            yield f"{panel['title']} {target['refId']}", expr


def metrics_named() -> set[str]:
    """The names of metrics in all expressions; of a histogram without what its series add."""
    names = {name for _, expression in expressions() for name in _NAME.findall(expression)}
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in names}
