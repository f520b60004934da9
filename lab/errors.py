"""Errors of the lab."""


class LabError(Exception):
    """The lab cannot continue. The message says what is wrong, why, and what to do; the command exits with FAILED."""


class InterruptedLabError(LabError):
    """The user pressed Ctrl-C. The command exits with INTERRUPTED."""
