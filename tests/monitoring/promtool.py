"""Run of the alerts by the real promtool, over series that a test writes down."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import paths
from monitoring import rules
from monitoring.spec import Platform

EVALUATED = {"m": "1m", "h": "10m", "d": "6h"}
"""Time between two evaluations of the rules, by the unit of a case's time: each takes as long in promtool."""
BINARY = paths.binaries() / "promtool"


@dataclass(frozen=True, kw_only=True)
class Case:
    """Series, and whether an alert fires at a time."""

    name: str
    """Description of the case."""
    alert: str
    """Name of the alert."""
    at: str
    """Time of the check."""
    series: Mapping[str, str]
    """Values of each series, in promtool's notation."""
    fires: Mapping[str, str] | None
    """Labels of the alert that fires, among others; None if it is silent."""
    interval: str = "1m"
    """Time between two values of a series."""


def check(platform: Platform, cases: Sequence[Case], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run all cases, and return promtool's exit code with its output."""
    (folder / "rules.yml").write_text(json.dumps(rules.document(platform)))
    files = list[str]()
    for unit, interval in EVALUATED.items():
        tests = [_test(each) for each in cases if each.at.endswith(unit)]
        content = {
            "rule_files": ["rules.yml"],
            "evaluation_interval": interval,
            # Otherwise the order is random, and a series that a later group records is too old by then.
            "group_eval_order": [group.name for group in rules.groups(platform)],
            "tests": tests,
        }
        files.append(f"tests-{interval}.yml")
        (folder / files[-1]).write_text(json.dumps(content))
    return subprocess.run([BINARY, "test", "rules", *files], cwd=folder, capture_output=True, text=True, check=False)


def _test(case: Case) -> dict[str, Any]:
    matchers = {"alertname": case.alert, "alertstate": "firing", **(case.fires or {})}
    query = ",".join(f'{label}="{value}"' for label, value in matchers.items())
    return {
        "name": case.name,
        "interval": case.interval,
        "input_series": [{"series": series, "values": values} for series, values in case.series.items()],
        "promql_expr_test": [
            {
                "expr": f"count(ALERTS{{{query}}})",
                "eval_time": case.at,
                "exp_samples": [{"labels": "{}", "value": 1}] if case.fires is not None else [],
            }
        ],
    }
