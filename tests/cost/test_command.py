"""`python -m cost`: what people and pipelines read."""

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from cost import cli
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
    return cli.main([str(argument) for argument in arguments])


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


def test_another_regions_prices_are_said_to_be_such(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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


def test_an_exceeded_budget_ends_with_1_and_says_why_on_stderr(plan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--plan", plan, "--month-usd", 500, "--json") == cli.EXCEEDED
    answer = capsys.readouterr()
    assert "mlops:budget.month_usd is $500.00" in answer.err
    assert json.loads(answer.out)["ceiling_usd"] > 500


def test_a_plan_is_read_from_a_pipe(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(document(nat_gateway()))))
    assert run("--plan", "-", "--json") == 0
    assert json.loads(capsys.readouterr().out)["floor_usd"] == pytest.approx(HOURS_NAT)


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "it cannot be read"), ("{", "it is no JSON"), ("{}", "it is neither a preview nor an exported state")],
)
def test_a_wrong_file_ends_with_2_and_one_line(
    tmp_path: Path, content: str | None, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "plan.json"
    if content is not None:
        file.write_text(content)
    assert run("--plan", file) == cli.WRONG
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{file}: {why}")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "name a plan with --plan"),
        (["--update-prices"], "needs --region"),
        (["--plan", "x", "--prices-of", "mars-1"], "there is no such price table"),
        (["--plan", "x", "--json", "--markdown"], "not allowed with"),
        (["--plan", "x", "--month-usd", "-5"], "-5 is no amount above zero"),
        (["--plan", "x", "--run-usd", "cheap"], "cheap is no amount above zero"),
    ],
)
def test_wrong_arguments_end_with_2_and_what_to_write(
    arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == cli.WRONG
    assert why in capsys.readouterr().err


def test_the_help_has_examples_that_fit_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    said = capsys.readouterr().out
    assert "pulumi preview --json --show-sames" in said
    assert max(map(len, said.splitlines())) <= 80
