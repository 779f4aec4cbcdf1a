"""Which IP families a Service has: ipFamilyPolicy, ipFamilies and clusterIPs brought into agreement.

Rules: KEP-563, pkg/registry/core/service/storage/alloc.go.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from argosy.objects import status as errors
from argosy.objects.status import FieldError
from argosy.objects.types import JsonObject

HEADLESS = "None"
SINGLE = "SingleStack"
PREFER = "PreferDualStack"
REQUIRE = "RequireDualStack"


def family_of(address: str) -> str:
    """`IPv4` or `IPv6`; empty for what is no address."""
    try:
        return f"IPv{ipaddress.ip_address(address).version}"
    except ValueError:
        return ""


def settle(spec: JsonObject, offered: Sequence[str]) -> list[FieldError]:
    """Fill ipFamilies and ipFamilyPolicy, in place, for a cluster that offers these families, best first."""
    if spec.get("clusterIP") and not spec.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"]]
    elif spec.get("clusterIPs") and not spec.get("clusterIP"):
        spec["clusterIP"] = spec["clusterIPs"][0]
    addresses = [text for text in spec.get("clusterIPs") or () if text and text != HEADLESS]
    asked = list(spec.get("ipFamilies") or ())
    policy = spec.get("ipFamilyPolicy") or (REQUIRE if max(len(asked), len(addresses)) > 1 else SINGLE)
    families: list[str] = []
    for index in range(max(len(asked), len(addresses))):
        by_address = family_of(addresses[index]) if index < len(addresses) else ""
        wanted = asked[index] if index < len(asked) else by_address
        if by_address and wanted != by_address:
            detail = f"expected an {wanted} value as indicated by `ipFamilies[{index}]`"
            return [errors.invalid_value(f"spec.clusterIPs[{index}]", addresses[index], detail)]
        families.append(wanted)
    for index, family in enumerate(families):
        if family not in offered:
            detail = "not configured on this cluster"
            return [errors.invalid_value(f"spec.ipFamilies[{index}]", family, detail)]
    if policy == REQUIRE and len(offered) < 2 and spec.get("selector") is not None:
        detail = "this cluster is not configured for dual-stack services"
        return [errors.invalid_value("spec.ipFamilyPolicy", policy, detail)]
    if not families:
        families = [offered[0]]
    if policy in (PREFER, REQUIRE) and len(families) < 2:
        families += [family for family in offered if family not in families][:1]
    if policy == SINGLE:
        families = families[:1]
    spec["ipFamilyPolicy"] = policy
    spec["ipFamilies"] = families
    return []
