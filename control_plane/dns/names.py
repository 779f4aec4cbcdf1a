"""Names as the index has them: lower case, without the last dot. Pure."""

from __future__ import annotations

import ipaddress


def normal(name: str) -> str:
    return name.rstrip(".").lower()


def reverse(ip: str) -> str:
    """The PTR name of an address: `10.0.96.10.in-addr.arpa`. Raises ValueError."""
    return ipaddress.ip_address(ip).reverse_pointer


def dashed(ip: str) -> str:
    """An address as a label: `10-244-1-7`; IPv6 with dashes for colons."""
    return ip.replace(".", "-").replace(":", "-")


def undashed(label: str) -> str:
    """The address that a pod's label means; empty for none."""
    for candidate in (label.replace("-", "."), label.replace("-", ":")):
        try:
            return str(ipaddress.ip_address(candidate))
        except ValueError:
            continue
    return ""
