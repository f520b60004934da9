"""How a VPC's addresses are shared out: arithmetic alone, nothing of Pulumi."""

from dataclasses import dataclass
from ipaddress import IPv4Network

MAX_ZONES = 3
SMALLEST_PREFIX = 23
"""A load balancer asks for public subnets of a /27 or larger (ELB user guide, "Subnets for your load balancer")."""
LARGEST_PREFIX = 16
"""VPCs reach from /16 to /28 (VPC user guide, "VPC CIDR blocks")."""
_PRIVATE = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")))


@dataclass(frozen=True, kw_only=True)
class Zone:
    """The subnets of one availability zone, as CIDR blocks."""

    private: str
    public: str


def plan(cidr: str, zones: int) -> list[Zone]:
    """One private and one public subnet for each zone.

    Three quarters of the VPC are private (pods take their addresses there), the last quarter is cut in four for the
    public ones. The cut does not depend on the number of zones, so a third zone moves no subnet that exists.
    ValueError says what is wrong with the block.
    """
    network = block(cidr)
    if not 1 <= zones <= MAX_ZONES:
        raise ValueError(f"{zones} zones: the plan has room for 1 to {MAX_ZONES}")
    if not any(network.subnet_of(private) for private in _PRIVATE):
        raise ValueError(f"{cidr} is not a private range (10/8, 172.16/12, 192.168/16, 100.64/10)")
    if not LARGEST_PREFIX <= network.prefixlen <= SMALLEST_PREFIX:
        raise ValueError(
            f"/{network.prefixlen} does not fit: between /{LARGEST_PREFIX} (the largest VPC) and /{SMALLEST_PREFIX} "
            "(a load balancer needs a /27 in each zone)"
        )
    *private, rest = network.subnets(prefixlen_diff=2)
    public = rest.subnets(prefixlen_diff=2)
    return [Zone(private=str(a), public=str(b)) for a, b in list(zip(private, public, strict=False))[:zones]]


def block(cidr: str) -> IPv4Network:
    """The block, if `cidr` is one with no host bits set; ValueError otherwise."""
    if "/" not in cidr:
        raise ValueError(f"{cidr} has no prefix length, such as /16")
    return IPv4Network(cidr)


def overlap(first: str, second: str) -> bool:
    """Whether the two blocks share an address."""
    return block(first).overlaps(block(second))
