"""What the lab says when it cannot go on."""


class LabError(Exception):
    """One sentence or two for the person at the terminal: what is wrong, and what to do about it. Ends with exit code 1."""
