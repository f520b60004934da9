from components.endpoint.release import Release
from infra.release.record import Recorded
from infra.release.verification import other_files
from model_preview.facts import Facts, Version


def release(version: int, digest: str) -> Release:
    return Release(model="churn", version=version, source="s3://b", digest=digest)


def test_other_files_of_a_released_version_are_named_once() -> None:
    releases = (release(7, "a"), release(8, "b"), release(7, "a"), release(8, "b"))
    recorded = Recorded(served={"churn": releases[-1]}, history={"churn": releases})
    facts = Facts(models={}, versions={("churn", 7): Version(model="churn", number=7, digest="f")})
    (said,) = other_files(facts, recorded)
    assert said.startswith("churn version 7 in the registry is not what churn released: its digest was a and is f; ")


def test_a_version_that_was_released_again_with_other_files_is_compared_with_those() -> None:
    releases = (release(7, "a"), release(7, "f"))
    recorded = Recorded(served={"churn": releases[-1]}, history={"churn": releases})
    facts = Facts(models={}, versions={("churn", 7): Version(model="churn", number=7, digest="f")})
    assert next(other_files(facts, recorded), None) is None
