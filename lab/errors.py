"""What the lab says when it cannot go on."""


class LabError(Exception):
    """One line for a person: value, rule, reason, way out. The command prints it and exits with FAILED."""


class InterruptedLabError(LabError):
    """The user pressed Ctrl-C. The command prints the line and exits with INTERRUPTED."""
