"""Schedules that Kubernetes accepts and whose times exist."""

import pytest

from infra.config import cron


@pytest.mark.parametrize(
    "schedule",
    [
        "0 3 * * 0",
        "*/15 9-17 * * MON-fri",
        "5/10,7 * ? jan,6 *",
        "@daily",
        "0 0 29 2 *",
        "0 0 31 2 1",
        "0 0 30,31 2,4 *",
    ],
)
def test_it_is_taken(schedule: str) -> None:
    cron.check(schedule)


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        ("* * * *", "it has 4 fields instead of 5"),
        ("0 0 3 * * 0", "it has 6 fields instead of 5"),
        ("60 * * * *", "'60' is not a value of the field minute, 0 to 59"),
        ("0 3 * * 7", "'7' is not a value of the field day of the week, 0 to 6"),
        ("0 3 * * funday", "'funday' is not a value of the field day of the week, 0 to 6"),
        ("0 3 0 * *", "'0' is not a value of the field day of the month, 1 to 31"),
        ("0 3 mon * *", "'mon' is not a value of the field day of the month, 1 to 31"),
        ("0 3 L * *", "'l' is not a value of the field day of the month, 1 to 31"),
        ("0 3 * 1- *", "'1-' is not a value of the field month, 1 to 12"),
        ("0,,5 * * * *", "'' is not a value of the field minute, 0 to 59"),
        ("*-5 * * * *", "'*-5' is not a value of the field minute, 0 to 59"),
        ("10-5 * * * *", "'10-5' contains no value of the field minute"),
        ("*/0 * * * *", "'*/0' contains no value of the field minute"),
        ("0 0 30 feb *", "no month feb has a day 30"),
        ("0 0 31 2,4,6,9,11 *", "no month 2,4,6,9,11 has a day 31"),
        ("@every 1h", "the only words with @ are @yearly"),
    ],
)
def test_it_is_refused_with_what_is_wrong(schedule: str, said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("*", r"\*")):
        cron.check(schedule)
