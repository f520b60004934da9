"""Values of parameters on a command line."""

from runs.values import pairs


def test_a_value_may_hold_anything() -> None:
    assert pairs(["URL=https://a/b?c=d", "EMPTY="]) == {"URL": "https://a/b?c=d", "EMPTY": ""}
