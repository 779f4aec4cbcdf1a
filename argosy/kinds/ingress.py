"""Ingress: hosts and paths from outside of the cluster, and the Services that they lead to.

Rules: upstream `pkg/apis/networking/validation/validation.go`, ValidateIngressCreate and ValidateIngressUpdate.
"""

from __future__ import annotations

from argosy.kinds import columns
from argosy.kinds.kind import AGE_COLUMN, Kind, drop_status, keep_status, status_subresource
from argosy.objects import meta, names
from argosy.objects.status import FieldError, forbidden_field, invalid_value, not_supported, required
from argosy.objects.types import JsonObject

CLASS_ANNOTATION = "kubernetes.io/ingress.class"
PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
BAD_SEQUENCES = ("//", "/./", "/../", "%2f", "%2F")
BAD_ENDINGS = ("/..", "/.")


def _host(host: str, path: str) -> list[FieldError]:
    check = names.check_wildcard_subdomain if "*" in host else names.check_subdomain
    return [invalid_value(path, host, text) for text in check(host)]


def _is_address(host: str) -> bool:
    return not names.check_ip(host)


def _backend(backend: JsonObject, path: str) -> list[FieldError]:
    resource, service = backend.get("resource"), backend.get("service")
    if resource is not None and service is not None:
        return [invalid_value(path, "", "cannot set both resource and service backends")]
    if resource is not None:
        fields = (("kind", resource.get("kind")), ("name", resource.get("name")))
        return [required(f"{path}.resource.{name}") for name, value in fields if not value]
    if service is None:
        return [required(path, "port name or number is required") if "service" in backend else required(path)]
    errors: list[FieldError] = []
    name = str(service.get("name") or "")
    if not name:
        errors.append(required(f"{path}.service.name"))
    else:
        errors += [invalid_value(f"{path}.service.name", name, text) for text in names.check_label_1035(name)]
    port = service.get("port") or {}
    if port.get("name") and port.get("number"):
        errors.append(invalid_value(path, "", "cannot set both port name & port number"))
    elif port.get("name"):
        where = f"{path}.service.port.name"
        errors += [invalid_value(where, port["name"], text) for text in names.check_port_name(port["name"])]
    elif port.get("number"):
        where = f"{path}.service.port.number"
        errors += [invalid_value(where, port["number"], text) for text in names.check_port(port["number"])]
    else:
        errors.append(required(path, "port name or number is required"))
    return errors


def _path(item: JsonObject, where: str) -> list[FieldError]:
    errors: list[FieldError] = []
    kind, path = item.get("pathType"), str(item.get("path") or "")
    if kind is None:
        errors.append(required(f"{where}.pathType", "pathType must be specified"))
    elif kind not in PATH_TYPES:
        errors.append(not_supported(f"{where}.pathType", kind, PATH_TYPES))
    elif kind == "ImplementationSpecific":
        if path and not path.startswith("/"):
            errors.append(invalid_value(f"{where}.path", path, "must be an absolute path"))
    else:
        if not path.startswith("/"):
            errors.append(invalid_value(f"{where}.path", path, "must be an absolute path"))
        for bad in BAD_SEQUENCES:
            if bad in path:
                errors.append(invalid_value(f"{where}.path", path, f"must not contain '{bad}'"))
        for bad in BAD_ENDINGS:
            if path.endswith(bad):
                errors.append(invalid_value(f"{where}.path", path, f"cannot end with '{bad}'"))
    return errors + _backend(item.get("backend") or {}, f"{where}.backend")


def _rules(rules: list[JsonObject]) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, rule in enumerate(rules):
        where, host = f"spec.rules[{index}]", str(rule.get("host") or "")
        if host:
            if _is_address(host):
                errors.append(invalid_value(f"{where}.host", host, "must be a DNS name, not an IP address"))
            errors += _host(host, f"{where}.host")
        http = rule.get("http")
        if http is None:
            continue
        paths = http.get("paths") or []
        if not paths:
            errors.append(required(f"{where}.http.paths"))
        for place, item in enumerate(paths):
            errors += _path(item, f"{where}.http.paths[{place}]")
    return errors


def validate(obj: JsonObject) -> list[FieldError]:
    spec = meta.spec(obj)
    errors: list[FieldError] = []
    for index, item in enumerate(spec.get("tls") or ()):
        for place, host in enumerate(item.get("hosts") or ()):
            errors += _host(str(host), f"spec.tls[{index}].hosts[{place}]")
        secret = item.get("secretName")
        if secret:
            errors += [
                invalid_value(f"spec.tls[{index}].secretName", secret, text) for text in names.check_subdomain(secret)
            ]
    rules, backend = spec.get("rules") or [], spec.get("defaultBackend")
    if not rules and backend is None:
        errors.append(invalid_value("spec", "", "either `defaultBackend` or `rules` must be specified"))
    if backend is not None:
        errors += _backend(backend, "spec.defaultBackend")
    errors += _rules(rules)
    name = spec.get("ingressClassName")
    if name is not None:
        errors += [invalid_value("spec.ingressClassName", name, text) for text in names.check_subdomain(name)]
    return errors


def validate_create(obj: JsonObject) -> list[FieldError]:
    annotation = meta.annotations(obj).get(CLASS_ANNOTATION)
    name = meta.spec(obj).get("ingressClassName")
    if annotation is not None and name is not None and annotation != name:
        field = f"annotations.{CLASS_ANNOTATION}"
        return [invalid_value(field, annotation, "must match `ingressClassName` when both are specified")]
    return []


def validate_status_update(new: JsonObject, _old: JsonObject) -> list[FieldError]:
    errors: list[FieldError] = []
    ingress = (meta.status(new).get("loadBalancer") or {}).get("ingress") or ()
    for index, item in enumerate(ingress):
        where = f"status.loadBalancer.ingress[{index}]"
        if item.get("ip"):
            errors += [invalid_value(f"{where}.ip", item["ip"], text) for text in names.check_ip(item["ip"])]
        if item.get("hostname"):
            errors += _host(item["hostname"], f"{where}.hostname")
            if _is_address(item["hostname"]):
                detail = "must be a DNS name, not an IP address"
                errors.append(invalid_value(f"{where}.hostname", item["hostname"], detail))
    return errors


def prepare_create(obj: JsonObject) -> None:
    drop_status(obj)
    obj["status"] = {"loadBalancer": {}}


def class_of(obj: JsonObject) -> str | None:
    """By its field, or else by the older annotation."""
    name = meta.spec(obj).get("ingressClassName")
    return name if name is not None else meta.annotations(obj).get(CLASS_ANNOTATION)


def _hosts(obj: JsonObject) -> str:
    hosts = [str(rule["host"]) for rule in meta.spec(obj).get("rules") or () if rule.get("host")]
    if not hosts:
        return "*"
    return ",".join(hosts[:3]) + (f" + {len(hosts) - 3} more..." if len(hosts) > 3 else "")


def _address(obj: JsonObject) -> str:
    found = columns.items_at(obj, "status", "loadBalancer", "ingress")
    return ",".join(str(item.get("ip") or item.get("hostname") or "") for item in found)


INGRESS = Kind(
    group="networking.k8s.io",
    version="v1",
    kind="Ingress",
    plural="ingresses",
    singular="ingress",
    namespaced=True,
    short_names=("ing",),
    subresources=(status_subresource("networking.k8s.io", "v1", "Ingress"),),
    validate=validate,
    validate_create=validate_create,
    validate_status_update=validate_status_update,
    prepare_create=prepare_create,
    prepare_update=keep_status,
    has_generation=True,
    columns=(
        columns.computed("Class", lambda obj: class_of(obj) or columns.NONE, description="Whose it is to serve."),
        columns.computed("Hosts", _hosts, description="Names that it is for."),
        columns.computed("Address", _address, description="Where it is served."),
        columns.computed(
            "Ports",
            lambda obj: "80, 443" if meta.spec(obj).get("tls") else "80",
            description="Ports it is served on.",
        ),
        AGE_COLUMN,
    ),
)


def _validate_class_update(new: JsonObject, old: JsonObject) -> list[FieldError]:
    if meta.spec(new).get("controller") != meta.spec(old).get("controller"):
        return [invalid_value("spec.controller", meta.spec(new).get("controller"), "field is immutable")]
    return []


def _validate_class(obj: JsonObject) -> list[FieldError]:
    spec = meta.spec(obj)
    controller = str(spec.get("controller") or "")
    errors: list[FieldError] = []
    if not controller:
        errors.append(required("spec.controller"))
    elif "/" not in controller:
        errors.append(invalid_value("spec.controller", controller, "must be a domain-prefixed path"))
    parameters = spec.get("parameters")
    if parameters is None:
        return errors
    where = "spec.parameters"
    errors += [required(f"{where}.{name}") for name in ("kind", "name") if not parameters.get(name)]
    scope, space = parameters.get("scope"), parameters.get("namespace")
    if scope not in ("Cluster", "Namespace"):
        errors.append(not_supported(f"{where}.scope", scope, ("Cluster", "Namespace")))
    elif scope == "Namespace" and not space:
        errors.append(required(f"{where}.namespace", "`parameters.scope` is set to 'Namespace'"))
    elif scope == "Cluster" and space is not None:
        errors.append(forbidden_field(f"{where}.namespace", "`parameters.scope` is set to 'Cluster'"))
    return errors


def _default_class(obj: JsonObject) -> None:
    parameters = (obj.get("spec") or {}).get("parameters")
    if isinstance(parameters, dict) and parameters.get("scope") is None:
        parameters["scope"] = "Cluster"


def _parameters(obj: JsonObject) -> str:
    found = meta.spec(obj).get("parameters")
    if not found:
        return columns.NONE
    group = f".{found['apiGroup']}" if found.get("apiGroup") else ""
    return f"{found.get('kind')}{group}/{found.get('name')}"


INGRESS_CLASS = Kind(
    group="networking.k8s.io",
    version="v1",
    kind="IngressClass",
    plural="ingressclasses",
    singular="ingressclass",
    namespaced=False,
    default=_default_class,
    validate=_validate_class,
    validate_update=_validate_class_update,
    has_generation=True,
    columns=(
        columns.text("Controller", "spec", "controller", description="Who serves its Ingresses."),
        columns.computed("Parameters", _parameters, description="What configures it."),
        AGE_COLUMN,
    ),
)
