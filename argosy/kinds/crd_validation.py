"""Rules of a CustomResourceDefinition's spec, but for its schemas: names, versions, columns, conversion.

Upstream: apiextensions-apiserver `pkg/apis/apiextensions/validation/validation.go`.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from argosy.objects import names
from argosy.objects.status import FieldError, forbidden_field, invalid_value, not_supported, required
from argosy.objects.types import JsonObject

COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
REVIEW_VERSIONS = ("v1", "v1beta1")
MAX_WARNING_CHARS = 256
MAX_SELECTABLE_FIELDS = 8


def validate_spec(spec: JsonObject) -> list[FieldError]:
    errors = _validate_group(spec.get("group") or "")
    scope = spec.get("scope") or ""
    if not scope:
        errors.append(required("spec.scope"))
    elif scope not in ("Cluster", "Namespaced"):
        errors.append(not_supported("spec.scope", scope, ["Cluster", "Namespaced"]))
    if spec.get("preserveUnknownFields"):
        detail = (
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        )
        errors.append(invalid_value("spec.preserveUnknownFields", True, detail))
    errors += _validate_versions(spec.get("versions") or [])
    given = spec.get("names") or {}
    errors += [
        required(f"spec.names.{name}") for name in ("plural", "singular", "kind", "listKind") if not given.get(name)
    ]
    errors += validate_names(given, "spec.names")
    return errors + _validate_conversion(spec.get("conversion") or {})


def _validate_group(group: str) -> list[FieldError]:
    if not group:
        return [required("spec.group")]
    complaints = names.check_subdomain(group)
    if complaints:
        return [invalid_value("spec.group", group, ",".join(complaints))]
    if "." not in group:
        return [invalid_value("spec.group", group, "should be a domain with at least one dot")]
    return []


def _validate_versions(versions: list[JsonObject]) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: list[str] = []
    for index, version in enumerate(versions):
        path = f"spec.versions[{index}]"
        name = version.get("name") or ""
        seen.append(name)
        complaints = names.check_label_1035(name)
        if complaints:
            errors.append(invalid_value(f"{path}.name", name, ",".join(complaints)))
        if not isinstance((version.get("schema") or {}).get("openAPIV3Schema"), dict):
            errors.append(required(f"{path}.schema.openAPIV3Schema"))
        errors += _validate_warning(version, path)
        errors += _validate_subresources(version.get("subresources") or {}, f"{path}.subresources")
        for at, column in enumerate(version.get("additionalPrinterColumns") or ()):
            errors += _validate_column(column, f"{path}.additionalPrinterColumns[{at}]")
    shown = [version.get("name", "") for version in versions]
    if len(set(seen)) != len(seen):
        errors.append(invalid_value("spec.versions", shown, "must contain unique version names"))
    if sum(1 for version in versions if version.get("storage")) != 1:
        detail = "must have exactly one version marked as storage version"
        errors.append(invalid_value("spec.versions", shown, detail))
    return errors


def _validate_warning(version: JsonObject, path: str) -> list[FieldError]:
    warning = version.get("deprecationWarning")
    path += ".deprecationWarning"
    if warning is None:
        return []
    if not version.get("deprecated"):
        return [invalid_value(path, warning, "can only be set for deprecated versions")]
    if not warning:
        return [invalid_value(path, warning, "must not be an empty string")]
    errors: list[FieldError] = []
    if len(warning) > MAX_WARNING_CHARS:
        errors.append(invalid_value(path, warning, f"must be <= {MAX_WARNING_CHARS} characters long"))
    for index, char in enumerate(warning):
        if not char.isprintable():
            detail = (
                "must only contain printable UTF-8 characters; "
                f"non-printable character found at index {len(warning[:index].encode())}"
            )
            errors.append(invalid_value(path, warning, detail))
            break
    return errors


def validate_names(given: JsonObject, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for name in ("plural", "singular"):
        value = given.get(name) or ""
        complaints = names.check_label_1035(value) if value else []
        if complaints:
            errors.append(invalid_value(f"{path}.{name}", value, ",".join(complaints)))
    for name in ("kind", "listKind"):
        value = given.get(name) or ""
        complaints = names.check_label_1035(value.lower()) if value else []
        if complaints:
            detail = "may have mixed case, but should otherwise match: " + ",".join(complaints)
            errors.append(invalid_value(f"{path}.{name}", value, detail))
    for index, value in enumerate(given.get("shortNames") or ()):
        complaints = names.check_label_1035(value)
        if complaints:
            errors.append(invalid_value(f"{path}.shortNames[{index}]", value, ",".join(complaints)))
    if given.get("kind") and given.get("kind") == given.get("listKind"):
        errors.append(invalid_value(f"{path}.listKind", given["listKind"], "kind and listKind may not be the same"))
    for index, value in enumerate(given.get("categories") or ()):
        complaints = names.check_label_1035(value)
        if complaints:
            errors.append(invalid_value(f"{path}.categories[{index}]", value, ",".join(complaints)))
    return errors


def _validate_column(column: JsonObject, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    types = "must be one of " + ",".join(COLUMN_TYPES)
    if not column.get("name"):
        errors.append(required(f"{path}.name"))
    kind = column.get("type") or ""
    if not kind:
        errors.append(required(f"{path}.type", types))
    elif kind not in COLUMN_TYPES:
        errors.append(invalid_value(f"{path}.type", kind, types))
    form = column.get("format") or ""
    if form and form not in COLUMN_FORMATS:
        errors.append(invalid_value(f"{path}.format", form, "must be one of " + ",".join(COLUMN_FORMATS)))
    json_path = column.get("jsonPath") or ""
    if not json_path:
        errors.append(required(f"{path}.jsonPath"))
    elif not json_path.startswith("."):
        errors.append(invalid_value(f"{path}.jsonPath", json_path, "must be a simple json path starting with ."))
    return errors


def _validate_subresources(subresources: JsonObject, path: str) -> list[FieldError]:
    scale = subresources.get("scale")
    if not isinstance(scale, dict):
        return []
    errors: list[FieldError] = []
    for name, roots, detail in (
        ("specReplicasPath", (".spec.",), "should be a json path under .spec"),
        ("statusReplicasPath", (".status.",), "should be a json path under .status"),
        ("labelSelectorPath", (".spec.", ".status."), "should be a json path under either .spec or .status"),
    ):
        value = scale.get(name) or ""
        if not value:
            if name != "labelSelectorPath":
                errors.append(required(f"{path}.scale.{name}"))
        elif not value.startswith("."):
            errors.append(invalid_value(f"{path}.scale.{name}", value, "must be a simple json path starting with ."))
        elif not value.startswith(roots):
            errors.append(invalid_value(f"{path}.scale.{name}", value, detail))
    return errors


def _validate_conversion(conversion: JsonObject) -> list[FieldError]:
    path = "spec.conversion"
    strategy = conversion.get("strategy") or ""
    webhook = conversion.get("webhook")
    if strategy not in ("None", "Webhook"):
        return [not_supported(f"{path}.strategy", strategy, ["None", "Webhook"])]
    if strategy == "None":
        if webhook is not None:
            return [forbidden_field(f"{path}.webhook", "should not be set when strategy is not set to Webhook")]
        return []
    webhook = webhook if isinstance(webhook, dict) else {}
    client = webhook.get("clientConfig")
    errors: list[FieldError] = []
    if not isinstance(client, dict):
        errors.append(required(f"{path}.webhook.clientConfig", "required when strategy is set to Webhook"))
    else:
        errors += validate_client_config(client, f"{path}.webhook.clientConfig")
    return errors + _validate_review_versions(
        webhook.get("conversionReviewVersions") or [], f"{path}.webhook.conversionReviewVersions"
    )


def validate_client_config(client: JsonObject, path: str) -> list[FieldError]:
    """A webhook's address: one of url and service (apiserver `pkg/util/webhook/validation.go`)."""
    url, service = client.get("url"), client.get("service")
    if (url is None) == (service is None):
        return [required(path, "exactly one of url or service is required")]
    if url is not None:
        return _validate_url(url, f"{path}.url")
    return _validate_service(service or {}, f"{path}.service")


def _validate_url(url: str, path: str) -> list[FieldError]:
    form = "desired format: https://host[/path]"
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  # raises for a port that is none
    except ValueError as error:
        return [required(path, f"url must be a valid URL: {error}; {form}")]
    errors: list[FieldError] = []
    if parts.scheme != "https":
        errors.append(invalid_value(path, parts.scheme, f"'https' is the only allowed URL scheme; {form}"))
    if not parts.hostname:
        errors.append(invalid_value(path, "", f"host must be specified; {form}"))
    if parts.username is not None:
        errors.append(invalid_value(path, parts.username, "user information is not permitted in the URL"))
    if parts.fragment:
        errors.append(invalid_value(path, parts.fragment, "fragments are not permitted in the URL"))
    if parts.query:
        errors.append(invalid_value(path, parts.query, "query parameters are not permitted in the URL"))
    return errors


def _validate_service(service: JsonObject, path: str) -> list[FieldError]:
    errors = [required(f"{path}.{name}") for name in ("name", "namespace") if not service.get(name)]
    port: Any = service.get("port", 443)
    if not isinstance(port, int) or not 1 <= port <= 65535:
        detail = f"port is not valid: {names.check_port(port)[0] if names.check_port(port) else port}"
        errors.append(invalid_value(f"{path}.port", port, detail))
    where = service.get("path")
    if where is None:
        return errors
    if not where.startswith("/"):
        errors.append(invalid_value(f"{path}.path", where, "must start with a '/'"))
        return errors
    if "//" in where:
        errors.append(invalid_value(f"{path}.path", where, "segment[0] may not be empty"))
    return errors


def _validate_review_versions(versions: list[str], path: str) -> list[FieldError]:
    if not versions:
        return [required(path)]
    errors: list[FieldError] = []
    seen: set[str] = set()
    for index, version in enumerate(versions):
        if version in seen:
            errors.append(invalid_value(f"{path}[{index}]", version, "duplicate version"))
        seen.add(version)
        errors += [invalid_value(f"{path}[{index}]", version, text) for text in names.check_label_1035(version)]
    if not seen & set(REVIEW_VERSIONS):
        detail = "must include at least one of " + ", ".join(REVIEW_VERSIONS)
        errors.append(invalid_value(path, versions, detail))
    return errors
