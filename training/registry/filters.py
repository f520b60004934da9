"""Filter strings for MLflow's search. Its language quotes texts but cannot escape a quotation mark."""


def equal(key: str, value: str) -> str:
    """Return the condition that the key has the value.

    The result is empty, and so finds everything, if the value has both quotation marks. So callers must compare again.
    """
    mark = next((mark for mark in "'\"" if mark not in value), "")
    return f"{key} = {mark}{value}{mark}" if mark else ""


def all_of(*conditions: str) -> str:
    """Join the conditions that are not empty with `and`."""
    return " and ".join(filter(None, conditions))
