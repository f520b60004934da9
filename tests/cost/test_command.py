"""`mlops cost`: what people and pipelines read."""

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from cli import main
from contract.exit_codes import ExitCode
from tests.cost.plans import (
    HOURS_NAT,
    Document,
    database,
    document,
    endpoint,
    nat_gateway,
    node_pool,
    pod_spec,
    step,
    training,
)

POOL = node_pool("gpu", ["g6", "g5"], ["spot", "on-demand"], {"nvidia.com/gpu": "4"})
CPU = node_pool("cpu", ["m7i", "m7a"], ["on-demand"], {"cpu": "64"})
LARGE = document(
    *POOL,
    *CPU,
    *endpoint("churn-predictor-of-the-whole-of-the-company", pod_spec("1", "2Gi", spread=True), 3, 20),
    training("net", pod_spec("2", "8Gi", gpus=1, pool="gpu"), minutes=90),
    database(),
    *(nat_gateway(f"network-{zone}", op="same") for zone in range(3)),
    step("aws:sqs/queue:Queue", "events"),
)


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    return written(tmp_path / "plan.json", LARGE)


def written(file: Path, plan: Document) -> Path:
    file.write_text(json.dumps(plan))
    return file


def run(*arguments: object) -> int:
    return main.run(["cost", *map(str, arguments)])


def test_the_table_fits_80_columns_and_names_all_that_is_in_it(plan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--plan", plan) == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80
    for text in ("node pool gpu", "3 x NAT gateway", "$98.55", "net", "GB through it", "not estimated: events (Queue)"):
        assert text in said
    assert re.search(r"Prices of us-east-1 on demand, 20\d\d-\d\d-\d\d", said)


def test_json_has_the_sums_and_null_where_nothing_is_estimated(
    tmp_path: Path, plan: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--plan", plan, "--json") == 0
    estimate: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert estimate["floor_usd"] == pytest.approx(sum(line["floor_usd"] for line in estimate["lines"]))
    assert estimate["prices_of"] == "us-east-1"
    elsewhere = written(tmp_path / "elsewhere.json", document(nat_gateway(), region="eu-west-1"))
    assert run("--plan", elsewhere, "--json") == 0
    assert json.loads(capsys.readouterr().out)["floor_usd"] is None


def test_a_region_without_prices_says_so_and_shows_no_amount(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = written(tmp_path / "elsewhere.json", document(nat_gateway(), region="eu-west-1"))
    for shape in ([], ["--markdown"], ["--delta"], ["--delta", "--markdown"]):
        assert run("--plan", elsewhere, *shape) == 0
        said = capsys.readouterr().out
        assert "Nothing is estimated" in said
        assert "$" not in said


def test_another_regions_prices_are_marked_as_such(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    elsewhere = written(tmp_path / "elsewhere.json", document(nat_gateway(), region="eu-west-1"))
    assert run("--plan", elsewhere, "--prices-of", "us-east-1") == 0
    said = capsys.readouterr().out
    assert "the stack is in eu-west-1, and these are prices of us-east-1" in said
    assert "$32.85" in said


def test_markdown_has_the_sums_in_tables(plan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--plan", plan, "--markdown") == 0
    said = capsys.readouterr().out
    assert "| 3 x NAT gateway |  | $98.55 | $98.55 |" in said
    assert {row.count("|") for row in said.splitlines() if row.startswith("|")} == {5}


def test_markdown_of_a_difference_begins_with_one_line_and_escapes_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wild = written(tmp_path / "wild.json", document(nat_gateway("a|b</details>@team`x`")))
    assert run("--plan", wild, "--delta", "--markdown") == 0
    first, *rest = capsys.readouterr().out.splitlines()
    assert first == "**A month without load: +$32.85 ($0.00 to $32.85). At most: +$32.85 ($0.00 to $32.85).**"
    text = "\n".join(rest)
    assert "</details>" not in text
    assert "@team" not in text
    assert "a\\|b" in text


def test_a_difference_against_a_file_and_one_that_is_none(
    tmp_path: Path, plan: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    smaller = written(tmp_path / "base.json", {**LARGE, "steps": LARGE["steps"][:-2]})
    assert run("--plan", plan, "--base", smaller) == 0
    said = capsys.readouterr().out
    assert "NAT gateway" in said
    assert "network-2" in said
    assert "network-1" not in said
    assert run("--plan", plan, "--base", plan) == 0
    assert "The price stays" in capsys.readouterr().out


def test_an_exceeded_budget_is_refused_and_says_why_on_stderr(plan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--plan", plan, "--month-usd", 500, "--json") == ExitCode.REFUSED
    answer = capsys.readouterr()
    assert "month_usd of the budget is $500.00" in answer.err
    assert json.loads(answer.out)["ceiling_usd"] > 500


def with_budget(**budget: object) -> Document:
    """The large plan of a stack file with a budget; `pulumi config set` writes 19.5 as a text."""
    return {**LARGE, "config": {**LARGE["config"], "mlops:budget": json.dumps(budget)}}


def test_without_a_plan_the_command_previews_the_stack(pulumi: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (pulumi / "preview").write_text(json.dumps(LARGE))
    assert run("--stack", "prod") == 0
    assert "3 x NAT gateway" in capsys.readouterr().out
    assert (pulumi / "asked").read_text() == "preview --json --show-sames --non-interactive --stack prod\n"


def test_a_preview_that_fails_is_reported_in_the_engines_words(
    pulumi: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    errors = [{"severity": "error", "message": "Pulumi.prod.yaml: mlops:budget.month is unknown\n"}]
    (pulumi / "preview").write_text(json.dumps({"diagnostics": errors}))
    (pulumi / "code").write_text("1")
    assert run("--stack", "prod") == ExitCode.FAILED
    assert capsys.readouterr() == ("", "mlops: Pulumi.prod.yaml: mlops:budget.month is unknown\n")


def test_the_budget_of_the_stack_file_is_kept_or_the_command_refuses_with_the_largest_lines(
    pulumi: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pulumi / "preview").write_text(json.dumps(with_budget(month_usd=1e6, run_usd="19.5")))
    assert run("--stack", "prod") == 0
    capsys.readouterr()
    (pulumi / "preview").write_text(json.dumps(with_budget(month_usd="1000.5")))
    for form in ([], ["--delta"], ["--markdown"]):
        assert run("--stack", "prod", *form) == ExitCode.REFUSED
        answer = capsys.readouterr()
        assert "Prices of us-east-1" in answer.out
        first, *lines, _ = answer.err.splitlines()
        assert first.startswith("mlops: month_usd of the budget is $1,000.50, but a month may cost $")
        assert [line.split("  ")[2].split(":")[0] for line in lines] == ["node pool cpu", "node pool gpu", "database"]


def test_a_limit_of_the_command_line_replaces_that_of_the_stack_file_and_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = written(tmp_path / "plan.json", with_budget(month_usd=500, run_usd=0.01))
    assert run("--plan", plan, "--month-usd", 1e6) == ExitCode.REFUSED
    (line,) = capsys.readouterr().err.splitlines()
    assert "run_usd of the budget is $0.01, but one run of net may cost" in line
    assert run("--plan", plan, "--month-usd", 1e6, "--run-usd", 1e6) == 0


def test_a_budget_that_no_stack_file_may_have_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong, named in (({"month_usd": 0}, "mlops:budget.month_usd"), ({"month": 5}, "mlops:budget.month")):
        plan = written(tmp_path / "plan.json", with_budget(**wrong))
        assert run("--plan", plan) == ExitCode.BAD_INPUT
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"mlops: {plan}: {named} is not valid (")


def test_a_plan_is_read_from_a_pipe(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(document(nat_gateway()))))
    assert run("--plan", "-", "--json") == 0
    assert json.loads(capsys.readouterr().out)["floor_usd"] == pytest.approx(HOURS_NAT)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, ": it cannot be read"),
        ("{", " is not a preview in JSON"),
        ("[" * 100_000, " is not a preview in JSON"),
        ('{"steps": [NaN]}', " is not a preview in JSON (NaN is not a JSON number)"),
        ("{}", ": it is neither a preview nor an exported state"),
        ('{"steps": [], "config": {"aws:region": {}}}', ": config.aws:region differs from what Pulumi prints"),
        (
            '{"steps": [], "config": {"mlops:budget": {"month_usd": 1}}}',
            ": config.mlops:budget differs from what Pulumi prints",
        ),
    ],
)
def test_a_wrong_file_ends_with_2_and_one_line(
    tmp_path: Path, content: str | None, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "plan.json"
    if content is not None:
        file.write_text(content)
    assert run("--plan", file) == ExitCode.BAD_INPUT
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"mlops: {file}{why}")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--plan", "x", "--stack", "prod"], "--stack makes a preview and --plan reads one; write one of the two"),
        (["--update-prices", "eu-west-1", "--delta"], "--update-prices only writes a price table; use it"),
        (["--stack", "prod", "--prices-of", "mars-1"], "write one with `mlops cost --update-prices mars-1`"),
        (["--plan", "x", "--json", "--markdown"], "--json and --markdown are two forms of one report"),
        (["--plan", "x", "--month-usd", "-5"], "-5 is not an amount above zero; write it as in 1500 or 19.50"),
        (["--plan", "x", "--run-usd", "cheap"], "cheap is not an amount above zero"),
        (["--plan", "x", "--month-usd", "nan"], "nan is not an amount above zero"),
        (["--plan", "x", "--month-usd", "inf"], "inf is not an amount above zero"),
    ],
)
def test_wrong_options_are_one_line_that_says_what_to_write(
    pulumi: Path, arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == ExitCode.BAD_INPUT
    (line,) = capsys.readouterr().err.splitlines()
    assert why in line
    assert not (pulumi / "asked").exists()
