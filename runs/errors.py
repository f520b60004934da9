"""Errors of commands on a cluster."""


class RunsError(Exception):
    """A command on a cluster failed. The message is one line for a person; exit code FAILED."""


class RefusedError(RunsError):
    """A name or value of the command line is wrong. Nothing was created; the command exits with BAD_INPUT."""


class ClusterError(RunsError):
    """The cluster or MLflow did not respond, or refused the request. Another try may succeed."""
