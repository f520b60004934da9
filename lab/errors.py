"""What the lab says when it cannot go on."""


class LabError(Exception):
    """One line for a person: value, rule, reason, way out. The command line prints it and ends with 1, no traceback."""
