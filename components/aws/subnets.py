"""Division of a VPC's address block into subnets; this module does not use Pulumi."""

from dataclasses import dataclass
from ipaddress import IPv4Network
from itertools import islice, repeat

MAX_ZONES = 3
SMALLEST_PREFIX = 23
"""Prefix length of the smallest VPC: a load balancer needs a /27 in each zone (ELB user guide, "Subnets for your load
balancer")."""
OWN_PREFIX = 21
"""Prefix length of the smallest VPC with room for subnets of internal load balancers only, a /27 in each zone."""
LARGEST_PREFIX = 16
"""Prefix length of the largest VPC (VPC user guide, "VPC CIDR blocks")."""
_PRIVATE = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")))


@dataclass(frozen=True, kw_only=True)
class Zone:
    """The subnets of one availability zone, as CIDR blocks."""

    private: str
    """Subnet for nodes, pods and the database."""
    public: str
    """Subnet for public load balancers and NAT gateways."""
    internal: str | None
    """Subnet for internal load balancers only; None if the VPC is too small for it."""


def plan(cidr: str, zones: int) -> list[Zone]:
    """Return one private and one public subnet for each zone.

    Each private subnet is a quarter of the VPC, because pods need addresses. The last quarter is divided into three
    public subnets and a block for internal load balancers, of which each zone has a quarter. The division does not
    depend on the number of zones, so a further zone moves no existing subnet.

    Raises:
        ValueError: the block or the number of zones is not allowed.
    """
    network = block(cidr)
    if not 1 <= zones <= MAX_ZONES:
        raise ValueError(f"{zones} zones are not possible: a VPC is divided for 1 to {MAX_ZONES} zones")
    if not any(network.subnet_of(private) for private in _PRIVATE):
        raise ValueError(f"{cidr} is not a private range (10/8, 172.16/12, 192.168/16, 100.64/10)")
    if not LARGEST_PREFIX <= network.prefixlen <= SMALLEST_PREFIX:
        raise ValueError(
            f"/{network.prefixlen} is not between /{LARGEST_PREFIX} (the largest VPC) and /{SMALLEST_PREFIX} "
            "(a load balancer needs a /27 in each zone)"
        )
    *private, rest = network.subnets(prefixlen_diff=2)
    *public, last = rest.subnets(prefixlen_diff=2)
    internal = map(str, last.subnets(prefixlen_diff=2)) if network.prefixlen <= OWN_PREFIX else repeat(None)
    divided = zip(private, public, internal, strict=False)
    return [Zone(private=str(a), public=str(b), internal=c) for a, b, c in islice(divided, zones)]


def block(cidr: str) -> IPv4Network:
    """Return the block that `cidr` describes; raise ValueError if it is invalid or has host bits set."""
    if "/" not in cidr:
        raise ValueError(f"{cidr} has no prefix length, such as /16")
    return IPv4Network(cidr)


def overlap(first: str, second: str) -> bool:
    """Return whether the two blocks share an address."""
    return block(first).overlaps(block(second))
