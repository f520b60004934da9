"""Runs the whole end-to-end suite, with the tests that are too long for CI, and records the result.

It starts from a wiped lab with warm caches. Each run adds one row to docs/benchmarks.md and commits it: date, commit,
tests, and the seconds of `lab up` from a wiped state, of `lab up` when everything runs, and of an unchanged `pulumi
preview`. The run uses this machine's lab, which is empty at the end.
"""

import datetime as dt
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parent.parent
REPORT = ROOT / "docs" / "benchmarks.md"
LAB = Path(sys.executable).parent / "lab"
ROTATION = "tests/e2e/test_token_rotation.py"
"""Test that takes an hour, so it runs beside the others."""
UPGRADE = "tests/e2e/test_upgrade.py"
"""Test that replaces the lab, so it runs after the others."""


def seconds(*command: str | Path) -> float:
    """Run a command that must succeed; return its wall time in seconds."""
    began = time.monotonic()
    subprocess.run(command, cwd=ROOT, check=True)
    return time.monotonic() - began


def tests(*arguments: str) -> tuple[int, int]:
    """Run pytest; return the numbers of tests that passed and that did not."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", *arguments, f"--junitxml={file}"]
        subprocess.run(command, cwd=ROOT, check=False)
        suite = next(ET.parse(file).iter("testsuite")).attrib
    bad = int(suite["failures"]) + int(suite["errors"])
    return int(suite["tests"]) - bad, bad


def commit() -> str:
    """Return the short hash of the checked-out commit; exit with a message if files differ from it."""
    changed = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, check=True, capture_output=True, text=True)
    if changed.stdout.strip():
        sys.exit(
            f"the checkout has uncommitted changes, so its result cannot be recorded; commit them:\n{changed.stdout}"
        )
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, check=True, capture_output=True, text=True)
    return head.stdout.strip()


def main() -> None:
    """Run everything, add a row, commit it; exit with 1 when a test failed."""
    head, began = commit(), time.monotonic()
    seconds(LAB, "down", "--wipe")
    (ROOT / "Pulumi.local.yaml").unlink(missing_ok=True)
    up = seconds(LAB, "up")
    again = seconds(LAB, "up")
    preview = seconds(LAB, "pulumi", "preview", "--stack", "local", "--non-interactive")
    # Other random models than in CI, but the same ones for all runs on one day.
    os.environ["PIPELINES_SEED"] = f"{dt.datetime.now(dt.UTC):%Y%m%d}"
    long = tests("tests", "--ignore=tests/e2e", "-m", "long", "-n", "2", "--dist", "loadfile", "--all")
    with ThreadPoolExecutor(1) as beside:
        rotation = beside.submit(tests, ROTATION, "--keep-lab", "--all")
        others = tests("tests/e2e", f"--ignore={ROTATION}", f"--ignore={UPGRADE}", "--keep-lab", "--all")
    suites = (long, others, rotation.result(), tests(UPGRADE, "--keep-lab", "--all"))
    passed, failed = (sum(counts) for counts in zip(*suites, strict=True))
    minutes = (time.monotonic() - began) / 60
    row = (
        f"| {dt.datetime.now(dt.UTC):%Y-%m-%d} | {head} | {passed} | {failed} | "
        f"{minutes:.0f} min | {up:.0f} s | {again:.1f} s | {preview:.1f} s |\n"
    )
    REPORT.write_text(REPORT.read_text().rstrip() + "\n" + row)
    subprocess.run(["git", "commit", "-qm", f"End to end: {head}", "--", str(REPORT)], cwd=ROOT, check=True)
    print(row, end="")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
