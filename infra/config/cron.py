"""Check of Kubernetes schedules: five cron fields, or a word such as @daily."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise

MEANINGS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
WORDS = tuple(MEANINGS)
FIRST_DAY, DAYS = date(2024, 1, 1), 9 * 366
"""Days that hold two starts of every schedule, also of one on 29 February."""
LONGEST_MONTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
PART = re.compile(r"(?:[*?]|(?P<first>[a-z]{3}|\d{1,2})(?:-(?P<last>[a-z]{3}|\d{1,2}))?)(?:/(?P<step>\d{1,2}))?")


@dataclass(frozen=True)
class _Field:
    """Field of a schedule; `words` are names of the values from `least` on."""

    name: str
    least: int
    most: int
    words: Sequence[str] = ()

    def number(self, text: str) -> int:
        """Return the number of a value; raise ValueError if the field has no such value."""
        number = int(text) if text.isdigit() else self.least + self.words.index(text)
        if not self.least <= number <= self.most:
            raise ValueError(text)
        return number


FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]),
    _Field("day of the week", 0, 6, ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]),
)


def check(schedule: str) -> None:
    """Raise ValueError, with the reason, if the schedule is invalid or names a time that never comes."""
    if schedule in WORDS:
        return
    if schedule.startswith("@"):
        raise ValueError(f"the only words with @ are {', '.join(WORDS)}")
    texts = schedule.lower().split()
    if len(texts) != len(FIELDS):
        raise ValueError(f"it has {len(texts)} fields instead of {len(FIELDS)}")
    _, _, days, months, _ = (_values(field, text) for field, text in zip(FIELDS, texts, strict=True))
    if texts[4] in {"*", "?"} and min(days) > max(LONGEST_MONTHS[month - 1] for month in months):
        raise ValueError(f"no month {texts[3]} has a day {texts[2]}")


def longest_pause(schedule: str) -> timedelta:
    """Return the longest time from one start to the next of a valid schedule."""
    texts = MEANINGS.get(schedule, schedule).lower().split()
    minutes, hours, days, months, weekdays = (_values(field, text) for field, text in zip(FIELDS, texts, strict=True))
    # As in crontab(5): if both kinds of days are restricted, either is enough.
    both = not any(text.startswith(("*", "?")) for text in (texts[2], texts[4]))
    starts = sorted(hour * 60 + minute for hour in hours for minute in minutes)
    dates = [
        day
        for day in (FIRST_DAY + timedelta(days=each) for each in range(DAYS))
        if day.month in months and (any if both else all)((day.day in days, day.isoweekday() % 7 in weekdays))
    ]
    nights = max(after - before for before, after in pairwise(dates)) - timedelta(minutes=starts[-1] - starts[0])
    return max([nights, *(timedelta(minutes=after - before) for before, after in pairwise(starts))])


def _values(field: _Field, text: str) -> set[int]:
    return {value for part in text.split(",") for value in _range(field, part)}


def _range(field: _Field, part: str) -> range:
    try:
        first, last, step = _ends(field, part)
    except ValueError:
        raise ValueError(f"{part!r} is not a value of the field {field.name}, {field.least} to {field.most}") from None
    if last < first or step == 0:
        raise ValueError(f"{part!r} contains no value of the field {field.name}")
    return range(first, last + 1, step)


def _ends(field: _Field, part: str) -> tuple[int, int, int]:
    """Return the first value, the last value and the step of a part; raise ValueError if the part is invalid."""
    found = PART.fullmatch(part)
    if not found:
        raise ValueError(part)
    first, last, step = found.groups()
    if first is None:
        return field.least, field.most, int(step or 1)
    to = field.number(last) if last else field.most if step else field.number(first)
    return field.number(first), to, int(step or 1)
