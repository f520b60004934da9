from ipaddress import IPv4Network
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.aws.subnets import LARGEST_PREFIX, MAX_ZONES, OWN_PREFIX, SMALLEST_PREFIX, Zone, overlap, plan


def vpc(second: int, third: int, prefix: int) -> str:
    return str(IPv4Network((f"10.{second}.{third}.0", prefix), strict=False))


VPCS = st.builds(vpc, st.integers(0, 255), st.integers(0, 255), st.integers(LARGEST_PREFIX, SMALLEST_PREFIX))


def blocks(zones: list[Zone]) -> list[IPv4Network]:
    return [IPv4Network(cidr) for zone in zones for cidr in (zone.private, zone.public, zone.internal) if cidr]


@given(cidr=VPCS, zones=st.integers(1, MAX_ZONES))
def test_subnets_lie_in_the_vpc_and_never_share_an_address(cidr: str, zones: int) -> None:
    subnets = sorted(blocks(plan(cidr, zones)))
    assert len(subnets) == (3 if IPv4Network(cidr).prefixlen <= OWN_PREFIX else 2) * zones
    assert all(subnet.subnet_of(IPv4Network(cidr)) for subnet in subnets)
    assert not any(left.overlaps(right) for left, right in pairwise(subnets))


@given(cidr=VPCS)
def test_a_third_zone_moves_no_subnet_that_exists(cidr: str) -> None:
    assert plan(cidr, 3)[:2] == plan(cidr, 2)


@given(cidr=VPCS, zones=st.integers(1, MAX_ZONES))
def test_every_subnet_has_room_for_a_load_balancer(cidr: str, zones: int) -> None:
    assert all(subnet.prefixlen <= 27 for subnet in blocks(plan(cidr, zones)))


def test_the_plan_of_a_vpc_can_be_read_at_a_glance() -> None:
    assert plan("10.40.0.0/16", 2) == [
        Zone(private="10.40.0.0/18", public="10.40.192.0/20", internal="10.40.240.0/22"),
        Zone(private="10.40.64.0/18", public="10.40.208.0/20", internal="10.40.244.0/22"),
    ]


def test_the_smallest_vpc_still_fits_three_zones() -> None:
    assert [zone.public for zone in plan("10.0.0.0/23", 3)] == ["10.0.1.128/27", "10.0.1.160/27", "10.0.1.192/27"]


@pytest.mark.parametrize(
    ("cidr", "zones", "reason"),
    [
        ("10.0.0.0/24", 2, "a load balancer needs a /27"),
        ("10.0.0.0/15", 2, "the largest VPC"),
        ("10.40.0.1/16", 2, "host bits set"),
        ("8.8.0.0/16", 2, "not a private range"),
        ("172.15.0.0/16", 2, "not a private range"),
        ("10.0.0.0", 2, "no prefix length"),
        ("10.0.0.0/16", 4, "divided for 1 to 3 zones"),
        ("10.0.0.0/16", 0, "divided for 1 to 3 zones"),
        ("fd00::/48", 2, "Expected 4 octets"),
    ],
)
def test_a_block_that_does_not_fit_is_refused_with_the_reason(cidr: str, zones: int, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        plan(cidr, zones)


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        ("10.40.0.0/16", "10.40.255.0/24", True),
        ("10.40.0.0/16", "10.41.0.0/16", False),
        ("172.20.0.0/16", "172.16.0.0/12", True),
    ],
)
def test_blocks_overlap_when_they_share_an_address(first: str, second: str, shared: bool) -> None:
    assert overlap(first, second) is overlap(second, first) is shared
