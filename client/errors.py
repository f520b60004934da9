"""What is said when it cannot go on."""


class EndpointError(Exception):
    """One line for a person: what the endpoint or the way to it did, and the way out. The command exits with FAILED."""


class InputError(Exception):
    """One line, or one for each problem, about what was given. The command exits with BAD_INPUT."""
