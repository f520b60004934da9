"""The table of the findings."""

from io import StringIO

from rich.console import Console

from contract.exit_codes import ExitCode
from doctor.examination import Report
from doctor.findings import Finding, Level, ok, problem, unchecked, warning
from doctor.views import exit_code, show

COMMAND = "run aws service-quotas request-service-quota-increase --quota-code L-1216C47A --desired-value 64"
REPORTS = [
    Report(check="quotas", findings=[problem("the quota is 5 [vCPUs]", "no node starts", COMMAND)]),
    Report(check="zones", findings=[ok("three zones"), warning("one is impaired", "it is slow", "wait")]),
    Report(check="images", findings=[unchecked("it needs a permission", "allow it")]),
]


def shown(*, terminal: bool) -> list[str]:
    output = StringIO()
    console = Console(file=output, force_terminal=terminal, width=80, no_color=True, highlight=False)
    show(console, "prod", REPORTS)
    return [line.rstrip() for line in output.getvalue().splitlines()]


def test_in_a_terminal_a_command_is_unbroken_in_a_line_of_its_own() -> None:
    lines = shown(terminal=True)
    assert COMMAND in [line.strip() for line in lines]
    assert max(len(line) for line in lines if COMMAND not in line) <= 80


def test_elsewhere_each_finding_is_one_line_and_what_is_wrong_comes_last() -> None:
    assert shown(terminal=False) == [
        "ok           zones   three zones",
        "not checked  images  could not be checked: it needs a permission; allow it",
        "warning      zones   one is impaired: it is slow; wait",
        f"problem      quotas  the quota is 5 [vCPUs]: no node starts; {COMMAND}",
        "stack prod: 1 ok, 1 warning, 1 problem, 1 not checked",
    ]


def test_a_problem_outweighs_a_defect_and_a_warning_is_no_failure() -> None:
    defect = Report(check="nodes", findings=[Finding(level=Level.DEFECT, what="the check itself failed")])
    assert exit_code(REPORTS) == ExitCode.REFUSED
    assert exit_code([*REPORTS, defect]) == ExitCode.REFUSED
    assert exit_code([REPORTS[1], defect]) == ExitCode.FAILED
    assert exit_code(REPORTS[1:]) == ExitCode.DONE
