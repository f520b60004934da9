"""Quantities have the form in which the API server returns them."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.config import quantities

UNITS = {"Ki": 1024, "Mi": 1024**2, "Gi": 1024**3, "Ti": 1024**4}


@given(st.integers(min_value=1, max_value=999_999))
def test_an_amount_of_cpu_is_the_same_however_it_is_written(amount: int) -> None:
    written = quantities.cpu(f"{amount}m")
    assert quantities.thousandths(written) == amount
    assert quantities.cpu(written) == written
    assert quantities.cpu(str(Decimal(amount) / 1000)) == written
    assert not written.endswith("000m"), "the API server would write whole CPUs"


@given(st.integers(min_value=1, max_value=9_999_999), st.sampled_from(sorted(UNITS)))
def test_an_amount_of_memory_keeps_its_size_and_gets_the_largest_unit_that_leaves_it_whole(
    amount: int, unit: str
) -> None:
    written = quantities.memory(f"{amount}{unit}")
    assert quantities.octets(written) == amount * UNITS[unit]
    assert quantities.memory(written) == written
    assert int(written[:-2]) % 1024 or written.endswith("Ti")


@pytest.mark.parametrize("wrong", ["", "0", "0m", "-1", "1.5m", "1e3", "1 ", "½", None, True, [], "0.0001"])
def test_what_is_no_amount_of_cpu_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match=r".*"):
        quantities.cpu(wrong)


@pytest.mark.parametrize("wrong", ["", "0Gi", "1", "1G", "1gi", "1.5Gi", "-1Gi", "512m", 1024, None, "1Gi\n"])
def test_what_is_no_amount_of_memory_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match=r".*"):
        quantities.memory(wrong)


@pytest.mark.parametrize(
    ("written", "read"),
    [("0.5", 0.5), ("1e-3", 0.001), ("2", 2.0), ("10%", "10%"), ("0x1", "0x1"), ("nan", "nan"), ("1_0", "1_0"), (3, 3)],
)
def test_a_text_that_is_a_decimal_number_is_that_number(written: object, read: object) -> None:
    assert quantities.number(written) == read
