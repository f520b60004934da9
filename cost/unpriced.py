"""Resources that may cost money and have no estimate, with the reason."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from cost.plan import Resource
from cost.prices import Model, NotPricedError

Read = TypeVar("Read")


class Unpriced(Model):
    """Resource that may cost money and has no estimate."""

    type: str
    name: str
    why: str


def read_each(resources: Iterable[Resource], read: Callable[[Resource], Read], into: list[Unpriced]) -> list[Read]:
    """Return the result of `read` for each resource; add a resource that it cannot read to `into`, with the reason."""
    found: list[Read] = []
    for resource in resources:
        try:
            found.append(read(resource))
        except NotPricedError as reason:
            into.append(Unpriced(type=resource.type, name=resource.name, why=str(reason)))
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
            why = "its inputs are not known before the update, or have another form than this program writes"
            into.append(Unpriced(type=resource.type, name=resource.name, why=why))
    return found
