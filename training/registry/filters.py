"""Writes conditions for MLflow's search, whose language quotes a text but has no way to escape a quotation mark."""


def equal(key: str, value: str) -> str:
    """Return the condition that the key has the value; an empty text, which finds everything, where none can say so.

    The caller compares what is found once more.
    """
    mark = next((mark for mark in "'\"" if mark not in value), "")
    return f"{key} = {mark}{value}{mark}" if mark else ""


def all_of(*conditions: str) -> str:
    """Join the conditions that say something."""
    return " and ".join(filter(None, conditions))
