"""What is said when it cannot go on."""


class RunsError(Exception):
    """One line for a person: value, rule, reason, way out. The command line prints it and ends with 1, no traceback."""


class RefusedError(RunsError):
    """What was asked for is wrong, and nothing was made; the command line ends with 2."""


class ClusterError(RunsError):
    """The cluster did not answer, or refused; the next try may succeed."""
