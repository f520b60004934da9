"""Inputs made into what is sent to the API server."""

from typing import Final

from lab.providers.values import Json, Tree, is_list, is_map, look_up, plain, section

INTERNAL: Final = "__"


def body_of(inputs: Tree) -> Tree:
    """The inputs without marks and without what is null."""
    return {key: _without_null(value) for key, value in plain(inputs).items() if not key.startswith(INTERNAL)}


def _without_null(value: Json) -> Json:
    if is_map(value):
        return {key: _without_null(item) for key, item in value.items() if item is not None}
    if is_list(value):
        return [_without_null(item) for item in value]
    return value


def left_as_it_is(body: Tree, live: Tree | None, paths: list[str]) -> Tree:
    """`body` with the live value at each of the ignored paths, so that the update takes nothing from another owner."""
    for text in paths:
        path = tuple(text.split("."))
        value = look_up(live, path)
        if value is not None and look_up(body, path) is not None:
            section(body, *path[:-1])[path[-1]] = value
    return body
