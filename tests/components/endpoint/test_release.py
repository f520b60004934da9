import pytest

from components.endpoint.release import KEPT, Release, appended, parsed, served
from contract import names

SEVEN = Release(model="churn", version=7, source="s3://b/7", digest="a")


def test_a_release_that_stays_is_listed_once_with_the_time_when_it_began() -> None:
    first = appended((), SEVEN, "monday")
    assert appended(parsed(first), SEVEN, "tuesday") == first == [
        {"model": "churn", "version": 7, "source": "s3://b/7", "digest": "a", "at": "monday"}
    ]  # fmt: skip


def test_a_release_that_comes_back_is_listed_again() -> None:
    eight = Release(model="churn", version=8, source="s3://b/8", digest="b")
    history = appended((), SEVEN, "monday")
    history = appended(parsed(history), eight, "tuesday")
    history = appended(parsed(history), SEVEN, "wednesday")
    assert [(one["version"], one["at"]) for one in history] == [(7, "monday"), (8, "tuesday"), (7, "wednesday")]


def test_an_object_without_the_annotation_has_no_release() -> None:
    assert served(None) is None
    assert served({"kubernetes.io/change-cause": "churn version 7"}) is None


@pytest.mark.parametrize(
    "text", ["garbage", "[]", "{}", '{"model": 1, "version": 7}', '{"model": "churn", "version": "x"}', "[" * 9000]
)
def test_an_annotation_that_was_overwritten_names_no_release(text: str) -> None:
    assert served({names.RELEASE: text}) is None


def test_a_field_of_a_newer_program_is_left_out() -> None:
    values = {"model": "churn", "version": 7.0, "source": "s3://b/7", "digest": "a", "approved_by": "ada"}
    assert parsed([values]) == (SEVEN,)


def test_the_history_has_a_largest_length() -> None:
    many = [Release(model="churn", version=number, source="s3://b", digest="a") for number in range(1, KEPT + 1)]
    found = appended(many, Release(model="churn", version=999, source="s3://b", digest="a"), "now")
    assert (len(found), found[0]["version"], found[-1]["version"]) == (KEPT, 2, 999)
