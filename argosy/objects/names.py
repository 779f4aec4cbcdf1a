"""What names, labels and keys may look like, with upstream's complaints (k8s.io/apimachinery `pkg/util/validation`).

Each `check_*` gives the complaints about one text; an empty list means that it is fine.
"""

from __future__ import annotations

import ipaddress
import re

LABEL_MAX = 63
SUBDOMAIN_MAX = 253
QUALIFIED_NAME_MAX = 63

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = _LABEL + r"(\." + _LABEL + ")*"
_LABEL_1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_CONFIG_KEY = "[-._a-zA-Z0-9]+"
_HTTP_HEADER = "[-A-Za-z0-9]+"

_label = re.compile(_LABEL, re.ASCII)
_subdomain = re.compile(_SUBDOMAIN, re.ASCII)
_wildcard = re.compile(r"\*\." + _SUBDOMAIN, re.ASCII)
_label_1035 = re.compile(_LABEL_1035, re.ASCII)
_qualified = re.compile(_QUALIFIED, re.ASCII)
_value = re.compile(f"({_QUALIFIED})?", re.ASCII)
_env = re.compile(r"[\x20-\x3c\x3e-\x7e]+")
_config_key = re.compile(_CONFIG_KEY, re.ASCII)
_port_name = re.compile("[-a-z0-9]+", re.ASCII)
_http_header = re.compile(_HTTP_HEADER, re.ASCII)


def _pattern(message: str, pattern: str, *examples: str) -> str:
    if not examples:
        return f"{message} (regex used for validation is '{pattern}')"
    shown = " or ".join(f"'{example}', " for example in examples)
    return f"{message} (e.g. {shown}regex used for validation is '{pattern}')"


def _max_length(limit: int) -> str:
    return f"must be no more than {limit} bytes"


LABEL_MESSAGE = _pattern(
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
    "and must start and end with an alphanumeric character",
    _LABEL,
    "my-name",
    "123-abc",
)
SUBDOMAIN_MESSAGE = _pattern(
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character",
    _SUBDOMAIN,
    "example.com",
)
LABEL_1035_MESSAGE = _pattern(
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', "
    "start with an alphabetic character, and end with an alphanumeric character",
    _LABEL_1035,
    "my-name",
    "abc-123",
)
QUALIFIED_MESSAGE = _pattern(
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
    _QUALIFIED,
    "MyName",
    "my.name",
    "123-abc",
)
VALUE_MESSAGE = _pattern(
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character",
    f"({_QUALIFIED})?",
    "MyValue",
    "my_value",
    "12345",
)
CONFIG_KEY_MESSAGE = _pattern(
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
    _CONFIG_KEY,
    "key.name",
    "KEY_NAME",
    "key-name",
)
HTTP_HEADER_MESSAGE = _pattern(
    "a valid HTTP header must consist of alphanumeric characters or '-'", _HTTP_HEADER, "X-Header-Name"
)
PORT_MESSAGE = "must be between 1 and 65535, inclusive"
NON_NEGATIVE_MESSAGE = "must be greater than or equal to 0"


def check_label(text: str) -> list[str]:
    """A DNS-1123 label: names of namespaces, containers, volumes."""
    complaints = []
    if len(text) > LABEL_MAX:
        complaints.append(_max_length(LABEL_MAX))
    if not _label.fullmatch(text):
        complaints.append("must not contain dots" if _subdomain.fullmatch(text) else LABEL_MESSAGE)
    return complaints


def check_subdomain(text: str) -> list[str]:
    """A DNS-1123 subdomain: names of most objects."""
    complaints = []
    if len(text) > SUBDOMAIN_MAX:
        complaints.append(_max_length(SUBDOMAIN_MAX))
    if not _subdomain.fullmatch(text):
        complaints.append(SUBDOMAIN_MESSAGE)
    return complaints


def check_wildcard_subdomain(text: str) -> list[str]:
    """`*.` and a DNS-1123 subdomain: host names of ingress rules."""
    if _wildcard.fullmatch(text):
        return [] if len(text) <= SUBDOMAIN_MAX else [_max_length(SUBDOMAIN_MAX)]
    return [
        _pattern(
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, "
            "which must consist of lower case alphanumeric characters, '-' or '.' "
            "and end with an alphanumeric character",
            r"\*\." + _SUBDOMAIN,
            "*.example.com",
        )
    ]


def check_label_1035(text: str) -> list[str]:
    """A DNS-1035 label: names of services."""
    complaints = []
    if len(text) > LABEL_MAX:
        complaints.append(_max_length(LABEL_MAX))
    if not _label_1035.fullmatch(text):
        complaints.append(LABEL_1035_MESSAGE)
    return complaints


def check_qualified_name(text: str) -> list[str]:
    """`[prefix/]name`: keys of labels, annotations, taints, extended resources."""
    parts = text.split("/")
    complaints: list[str] = []
    name = parts[-1]
    if len(parts) == 2:
        prefix = parts[0]
        if not prefix:
            complaints.append("prefix part must be non-empty")
        else:
            complaints += ["prefix part " + complaint for complaint in check_subdomain(prefix)]
    elif len(parts) > 2:
        tail = " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        return ["a qualified name " + QUALIFIED_MESSAGE + tail]
    if not name:
        complaints.append("name part must be non-empty")
    elif len(name) > QUALIFIED_NAME_MAX:
        complaints.append("name part " + _max_length(QUALIFIED_NAME_MAX))
    if not _qualified.fullmatch(name):
        complaints.append("name part " + QUALIFIED_MESSAGE)
    return complaints


def check_label_value(text: str) -> list[str]:
    complaints = []
    if len(text) > LABEL_MAX:
        complaints.append(_max_length(LABEL_MAX))
    if not _value.fullmatch(text):
        complaints.append(VALUE_MESSAGE)
    return complaints


def check_config_key(text: str) -> list[str]:
    """A key of a ConfigMap's or Secret's data: it must also be a file name."""
    complaints = []
    if len(text) > SUBDOMAIN_MAX:
        complaints.append(_max_length(SUBDOMAIN_MAX))
    if not _config_key.fullmatch(text):
        complaints.append(CONFIG_KEY_MESSAGE)
    return complaints + _dots(text)


def _dots(text: str) -> list[str]:
    if text == ".":
        return ["must not be '.'"]
    if text == "..":
        return ["must not be '..'"]
    if text.startswith(".."):
        return ["must not start with '..'"]
    return []


def check_env_name(text: str) -> list[str]:
    """A name of an environment variable: any printable ASCII but '=' (1.34 and later)."""
    if not text:
        return ["environment variable name must be non-empty"]
    if not _env.fullmatch(text):
        return ["a valid environment variable name must consist only of printable ASCII characters other than '='"]
    return []


def check_path_segment(text: str) -> list[str]:
    """A name that stands in a URL path (RBAC roles)."""
    if text in (".", ".."):
        return [f"may not be '{text}'"]
    return [f"may not contain '{part}'" for part in ("/", "%") if part in text]


def check_port_name(text: str) -> list[str]:
    """An IANA service name: names of container ports."""
    complaints = []
    if len(text) > 15:
        complaints.append(_max_length(15))
    if not _port_name.fullmatch(text):
        complaints.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", text):
        complaints.append("must contain at least one letter (a-z)")
    if "--" in text:
        complaints.append("must not contain consecutive hyphens")
    if text and (text[0] == "-" or text[-1] == "-"):
        complaints.append("must not begin or end with a hyphen")
    return complaints


def check_port(number: object) -> list[str]:
    return [] if isinstance(number, int) and 1 <= number <= 65535 else [PORT_MESSAGE]


def check_http_header(text: str) -> list[str]:
    return [] if _http_header.fullmatch(text) else [HTTP_HEADER_MESSAGE]


def check_ip(text: object) -> list[str]:
    try:
        ipaddress.ip_address(text if isinstance(text, str) and "%" not in text else "")
    except ValueError:
        return ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]
    return []


def check_cidr(text: object) -> list[str]:
    valid = isinstance(text, str) and "/" in text
    if valid:
        try:
            ipaddress.ip_network(str(text), strict=False)
        except ValueError:
            valid = False
    return [] if valid else ["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"]
