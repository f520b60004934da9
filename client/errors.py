"""Errors of commands on an endpoint."""


class EndpointError(Exception):
    """The endpoint cannot be reached, or its response is wrong. One line as message; exit code FAILED."""


class InputError(Exception):
    """The file or an option is wrong. One line as message for each problem; exit code BAD_INPUT."""
