"""`clientConfig`: where a webhook is, as admission webhooks and the conversion of custom resources name it.

Rules: k8s.io/apiserver `pkg/util/webhook/validation.go`; the default port is admissionregistration's.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final
from urllib.parse import urlsplit

from argosy.objects import names
from argosy.objects.status import FieldError, invalid_value, required
from argosy.objects.types import JsonObject

FORM: Final = "; desired format: https://host[/path]"
PORT: Final = 443


def default(config: JsonObject) -> None:
    """In place."""
    service = config.get("service")
    if service is not None and service.get("port") is None:
        service["port"] = PORT


def validate(config: JsonObject, path: str) -> list[FieldError]:
    """The complaints about a `clientConfig` at `path`."""
    url, service = config.get("url"), config.get("service")
    if service is None and url is not None:
        failures = validate_url(url, f"{path}.url")
    elif service is not None and url is None:
        failures = _validate_service(service, f"{path}.service")
    else:
        failures = [required(path, "exactly one of url or service is required")]
    return failures + validate_bundle(config.get("caBundle"), f"{path}.caBundle")


def validate_url(url: str, path: str) -> list[FieldError]:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        return [required(path, f"url must be a valid URL: {error}{FORM}")]
    failures: list[FieldError] = []
    if parts.scheme != "https":
        failures.append(invalid_value(path, parts.scheme, f"'https' is the only allowed URL scheme{FORM}"))
    if not parts.hostname:
        failures.append(invalid_value(path, "", f"host must be provided{FORM}"))
    if parts.username is not None:
        user = parts.netloc.rpartition("@")[0]
        failures.append(invalid_value(path, user, "user information is not permitted in the URL"))
    if parts.fragment:
        failures.append(invalid_value(path, parts.fragment, "fragments are not permitted in the URL"))
    if parts.query:
        failures.append(invalid_value(path, parts.query, "query parameters are not permitted in the URL"))
    if any(not char.isprintable() or char == " " for char in url):
        failures.append(invalid_value(path, url, "control characters and spaces are not permitted in the URL"))
    return failures


def validate_bundle(bundle: str | None, path: str) -> list[FieldError]:
    """Base64 of PEM, where it is given; whether the certificates are good shows when they are used."""
    if not bundle:
        return []
    try:
        text = base64.b64decode(bundle, validate=True)
    except binascii.Error:
        return [invalid_value(path, "...", "must be base64")]
    if b"-----BEGIN CERTIFICATE-----" not in text:
        detail = "unable to load root certificates: unable to parse bytes as PEM block"
        return [invalid_value(path, "...", detail)]
    return []


def _validate_service(service: JsonObject, path: str) -> list[FieldError]:
    failures: list[FieldError] = []
    for name in ("name", "namespace"):
        if not service.get(name):
            failures.append(required(f"{path}.{name}", f"service {name} is required"))
    port = service.get("port", PORT)
    if complaints := names.check_port(port):
        failures.append(invalid_value(f"{path}.port", port, "port is not valid: " + ", ".join(complaints)))
    return failures + _validate_path(service.get("path"), f"{path}.path")


def _validate_path(path: str | None, at: str) -> list[FieldError]:
    if path in (None, "", "/"):
        return []
    if path == "//":
        return [invalid_value(at, path, "segment[0] may not be empty")]
    failures: list[FieldError] = []
    if not path.startswith("/"):
        failures.append(invalid_value(at, path, "must start with a '/'"))
    for index, step in enumerate(path[1:].removesuffix("/").split("/")):
        if not step:
            failures.append(invalid_value(at, path, f"segment[{index}] may not be empty"))
            continue
        failures += [invalid_value(at, path, f"segment[{index}]: {text}") for text in names.check_subdomain(step)]
    return failures
