"""Kubernetes quantities of CPU and memory, in the form in which the API server returns them.

Kubernetes rewrites `0.5` to `500m` and `1024Mi` to `1Gi`; a program that writes another form sees false drift.
"""

import re
from decimal import Decimal

UNITS = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}


def number(value: object) -> object:
    """Return the number in a text such as "0.5", as `pulumi config set --path` writes it; any other value unchanged."""
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,9}(\.\d{1,9})?(e-?\d{1,2})?", value, re.IGNORECASE):
        return float(value)
    return value


def cpu(value: object) -> str:
    """Return CPUs such as `2`, `0.5`, `"0.5"` or `"500m"` as whole CPUs or thousandths; raise ValueError otherwise."""
    text = str(value)
    if isinstance(value, bool) or not re.fullmatch(r"\d{1,4}(\.\d{1,3})?|\d{1,6}m", text):
        raise ValueError(text)
    return cpu_text(int(text[:-1]) if text.endswith("m") else int(Decimal(text) * 1000))


def cpu_text(thousandths: int) -> str:
    """Return the quantity of thousandths of a CPU; raise ValueError if there is none."""
    if thousandths <= 0:
        raise ValueError(thousandths)
    return f"{thousandths}m" if thousandths % 1000 else str(thousandths // 1000)


def thousandths(cpu: str) -> int:
    """Return the thousandths of a CPU in a quantity that `cpu` has returned."""
    return int(cpu[:-1]) if cpu.endswith("m") else int(cpu) * 1000


def memory(value: object) -> str:
    """Return memory such as `"512Mi"` with the largest unit that keeps it whole; raise ValueError otherwise."""
    if not isinstance(value, str) or not re.fullmatch(r"[1-9]\d{0,6}(Ki|Mi|Gi|Ti)", value):
        raise ValueError(value)
    return memory_text(octets(value))


def memory_text(amount: int) -> str:
    """Return the quantity of a number of bytes that is a multiple of 1024."""
    unit = max((unit for unit, size in UNITS.items() if amount % size == 0), key=UNITS.__getitem__)
    return f"{amount // UNITS[unit]}{unit}"


def octets(memory: str) -> int:
    """Return the bytes in a quantity that `memory` has returned."""
    return int(memory[:-2]) * UNITS[memory[-2:]]
