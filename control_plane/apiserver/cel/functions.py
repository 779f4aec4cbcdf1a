"""What Kubernetes adds to CEL: lists, regular expressions, URLs, quantities, addresses, sets.

Upstream: k8s.io/apiserver `pkg/cel/library`, cel-go `ext/sets.go`. Values of types of their own (URL, Quantity, IP,
CIDR) are maps here, made and read by these functions only. A function that raises makes an error of the evaluation.
Not there: `indexOf` and `lastIndexOf` of lists (the library's strings have the names), semver, named formats: an
expression that uses them is refused when it is compiled.
"""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Final
from urllib.parse import SplitResult, parse_qs, urlsplit

from argosy.objects import quantity as quantities

Json = Any
NANO: Final = 10**9
MAX_PATTERN_CHARS: Final = 4096


def _plain(value: Any) -> Any:
    """A value as Python's own, all the way down."""
    if hasattr(value, "plain_value"):
        return value.plain_value()
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _sum(items: Json) -> Json:
    found = _plain(items)
    return sum(found[1:], found[0]) if found else 0


def _least(items: Json) -> Json:
    return min(_not_empty(items))


def _greatest(items: Json) -> Json:
    return max(_not_empty(items))


def _not_empty(items: Json) -> list[Any]:
    found: list[Any] = _plain(items)
    if not found:
        raise ValueError("min or max called on empty list")
    return found


def _is_sorted(items: Json) -> bool:
    found = _plain(items)
    return all(left <= right for left, right in itertools.pairwise(found))


def _contains(left: Json, right: Json) -> bool:
    whole = _plain(left)
    return all(item in whole for item in _plain(right))


def _equivalent(left: Json, right: Json) -> bool:
    return _contains(left, right) and _contains(right, left)


def _intersects(left: Json, right: Json) -> bool:
    whole = _plain(left)
    return any(item in whole for item in _plain(right))


def _pattern(text: str) -> re.Pattern[str]:
    from control_plane.apiserver.crd.values import compiled_pattern

    compiled = compiled_pattern(text) if len(text) <= MAX_PATTERN_CHARS else None
    if compiled is None:
        raise ValueError(f"Illegal regex: {text}")
    return compiled


def _find(text: str, pattern: str) -> str:
    match = _pattern(pattern).search(text)
    return match[0] if match else ""


def _find_all(text: str, pattern: str) -> list[str]:
    return [match[0] for match in _pattern(pattern).finditer(text)]


def _find_some(text: str, pattern: str, limit: int) -> list[str]:
    found = _find_all(text, pattern)
    return found if limit < 0 else found[:limit]


def _split_url(text: str) -> SplitResult:
    parts = urlsplit(text)
    parts.port  # noqa: B018  # raises for a port that is none
    if not (parts.scheme or text.startswith("/")):
        raise ValueError(f"URL parse error during conversion from string: {text}")
    return parts


def _url(text: str) -> Json:
    _split_url(text)
    return {"url": text}


def _host(url: Json) -> str:
    return _split_url(_plain(url)["url"]).netloc.rpartition("@")[2]


def _hostname(url: Json) -> str:
    text = _host(url)
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0]


def _port(url: Json) -> str:
    port = _split_url(_plain(url)["url"]).port
    return "" if port is None else str(port)


def _query(url: Json) -> Json:
    return parse_qs(_split_url(_plain(url)["url"]).query, keep_blank_values=True)


def _quantity(text: str) -> Json:
    return _made(Fraction(quantities.parse(text).nano, NANO))


def _amount(value: Json) -> Any:
    return Fraction(_plain(value)["quantity"])


def _made(amount: Any) -> Json:
    return {"quantity": str(amount)}


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    found = ipaddress.ip_address(text)
    if getattr(found, "scope_id", None) or getattr(found, "ipv4_mapped", None):
        raise ValueError(f"{text} is no plain address")
    return found


def _ip(text: str) -> Json:
    return {"ip": str(_address(text))}


def _of_ip(value: Json) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return _address(_plain(value)["ip"])


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    if "/" not in text:
        raise ValueError(f"{text} is no CIDR")
    return ipaddress.ip_network(text, strict=False)


def _cidr(text: str) -> Json:
    _network(text)
    return {"cidr": text}


def _of_cidr(value: Json) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return _network(_plain(value)["cidr"])


def _holds_ip(cidr: Json, text: Json) -> bool:
    address = _address(text) if isinstance(text, str) else _of_ip(text)
    network = _of_cidr(cidr)
    return address.version == network.version and address in network


def _holds_cidr(cidr: Json, text: Json) -> bool:
    inner = _network(text) if isinstance(text, str) else _of_cidr(text)
    outer = _of_cidr(cidr)
    return inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]


def _is(parse: Callable[[str], Any]) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            parse(text)
        except (ValueError, ArithmeticError):
            return False
        return True

    return check


def _canonical(text: str) -> bool:
    return str(_address(text)) == text


def _compare(left: Json, right: Json) -> int:
    one, other = _amount(left), _amount(right)
    return int(one > other) - int(one < other)


def _integer(value: Json) -> int:
    amount = _amount(value)
    if amount.denominator != 1 or not -(1 << 63) <= amount < 1 << 63:
        raise ValueError("cannot convert value to integer")
    return int(amount)


def _added(sign: int) -> Callable[[Json, Json], Json]:
    def add(left: Json, right: Json) -> Json:
        amount = right if isinstance(right, int) else _amount(right)
        return _made(_amount(left) + sign * amount)

    return add


def _has_integer(value: Json) -> bool:
    return _is(lambda _: _integer(value))("")


def declarations(cel: Any) -> tuple[Any, ...]:
    """Function declarations for `cel.NewEnv`."""
    kinds = cel.Type
    text, number, truth, real, anything = kinds.STRING, kinds.INT, kinds.BOOL, kinds.DOUBLE, kinds.DYN
    items, table = kinds.List(anything), kinds.Map(text, anything)
    member, plain = True, False
    rows: tuple[tuple[str, bool, Any, list[Any], Callable[..., Any]], ...] = (
        ("isSorted", member, truth, [items], _is_sorted),
        ("sum", member, anything, [items], _sum),
        ("min", member, anything, [items], _least),
        ("max", member, anything, [items], _greatest),
        ("sets.contains", plain, truth, [items, items], _contains),
        ("sets.equivalent", plain, truth, [items, items], _equivalent),
        ("sets.intersects", plain, truth, [items, items], _intersects),
        ("find", member, text, [text, text], _find),
        ("findAll", member, kinds.List(text), [text, text], _find_all),
        ("findAll", member, kinds.List(text), [text, text, number], _find_some),
        ("url", plain, table, [text], _url),
        ("isURL", plain, truth, [text], _is(_split_url)),
        ("getScheme", member, text, [table], lambda url: _split_url(_plain(url)["url"]).scheme),
        ("getHost", member, text, [table], _host),
        ("getHostname", member, text, [table], _hostname),
        ("getPort", member, text, [table], _port),
        ("getEscapedPath", member, text, [table], lambda url: _split_url(_plain(url)["url"]).path),
        ("getQuery", member, kinds.Map(text, kinds.List(text)), [table], _query),
        ("quantity", plain, table, [text], _quantity),
        ("isQuantity", plain, truth, [text], _is(quantities.parse)),
        ("isInteger", member, truth, [table], _has_integer),
        ("asInteger", member, number, [table], _integer),
        ("asApproximateFloat", member, real, [table], lambda value: float(_amount(value))),
        ("sign", member, number, [table], lambda value: _compare(value, _made(0))),
        ("add", member, table, [table, table], _added(1)),
        ("add", member, table, [table, number], _added(1)),
        ("sub", member, table, [table, table], _added(-1)),
        ("sub", member, table, [table, number], _added(-1)),
        ("isLessThan", member, truth, [table, table], lambda left, right: _compare(left, right) < 0),
        ("isGreaterThan", member, truth, [table, table], lambda left, right: _compare(left, right) > 0),
        ("compareTo", member, number, [table, table], _compare),
        ("ip", plain, table, [text], _ip),
        ("isIP", plain, truth, [text], _is(_address)),
        ("ip.isCanonical", plain, truth, [text], _canonical),
        ("family", member, number, [table], lambda value: _of_ip(value).version),
        ("isUnspecified", member, truth, [table], lambda value: _of_ip(value).is_unspecified),
        ("isLoopback", member, truth, [table], lambda value: _of_ip(value).is_loopback),
        (
            "isLinkLocalMulticast",
            member,
            truth,
            [table],
            lambda value: (
                _of_ip(value) in ipaddress.ip_network("224.0.0.0/24")
                if _of_ip(value).version == 4
                else _of_ip(value) in ipaddress.ip_network("ff02::/16")
            ),
        ),
        ("isLinkLocalUnicast", member, truth, [table], lambda value: _of_ip(value).is_link_local),
        (
            "isGlobalUnicast",
            member,
            truth,
            [table],
            lambda value: (
                not (
                    _of_ip(value).is_unspecified
                    or _of_ip(value).is_loopback
                    or _of_ip(value).is_multicast
                    or _of_ip(value).is_link_local
                    or str(_of_ip(value)) == "255.255.255.255"
                )
            ),
        ),
        ("cidr", plain, table, [text], _cidr),
        ("isCIDR", plain, truth, [text], _is(_network)),
        ("containsIP", member, truth, [table, text], _holds_ip),
        ("containsIP", member, truth, [table, table], _holds_ip),
        ("containsCIDR", member, truth, [table, text], _holds_cidr),
        ("containsCIDR", member, truth, [table, table], _holds_cidr),
        ("prefixLength", member, number, [table], lambda value: _of_cidr(value).prefixlen),
        ("masked", member, table, [table], lambda value: {"cidr": str(_of_cidr(value))}),
    )
    overloads: dict[str, list[Any]] = {}
    for number_, (name, is_member, result, parameters, implementation) in enumerate(rows):
        made = cel.Overload(f"kubernetes_{number_}", result, parameters, is_member, implementation)
        overloads.setdefault(name, []).append(made)
    return tuple(cel.FunctionDecl(name, made) for name, made in overloads.items())
