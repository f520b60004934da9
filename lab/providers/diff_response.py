"""A diff as the engine reads it."""

from typing import Final

from pulumi.runtime.proto import provider_pb2

from lab.providers.differences import Difference, property_path
from lab.providers.values import Path

KINDS: Final = {
    ("add", False): provider_pb2.PropertyDiff.ADD, ("add", True): provider_pb2.PropertyDiff.ADD_REPLACE,
    ("delete", False): provider_pb2.PropertyDiff.DELETE, ("delete", True): provider_pb2.PropertyDiff.DELETE_REPLACE,
    ("update", False): provider_pb2.PropertyDiff.UPDATE, ("update", True): provider_pb2.PropertyDiff.UPDATE_REPLACE,
}  # fmt: skip


def diff_response(
    changes: list[Difference], replaced: set[Path], *, delete_first: bool = False
) -> provider_pb2.DiffResponse:
    """`changes` to inputs; those at `replaced` need a new resource (with `delete_first`: after the old is gone)."""
    return provider_pb2.DiffResponse(
        changes=provider_pb2.DiffResponse.DIFF_SOME if changes else provider_pb2.DiffResponse.DIFF_NONE,
        diffs=sorted({str(change.path[0]) for change in changes}),
        replaces=sorted(property_path(path) for path in replaced),
        deleteBeforeReplace=delete_first,
        hasDetailedDiff=True,
        detailedDiff={
            property_path(change.path): provider_pb2.PropertyDiff(
                kind=KINDS[change.kind, change.path in replaced], inputDiff=True
            )
            for change in changes
        },
    )
