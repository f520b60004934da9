"""What is said when it cannot go on."""


class RunsError(Exception):
    """One line for a person: value, rule, reason, way out. The command prints it and exits with FAILED."""


class RefusedError(RunsError):
    """What was asked for is wrong, and nothing was made. The command exits with BAD_INPUT."""


class ClusterError(RunsError):
    """The cluster did not answer, or refused; the next try may succeed."""
