"""What the API machinery knows of a kind: one `Kind` value per kind, one kind per file in this package.

A kind's file holds its names, defaults, validation, strategy, printer columns and field selectors, all pure.
The API server drives them; nothing here does I/O. Structural checks (types, unknown fields, enums) come from the
OpenAPI schema in the API server; `validate` adds what Kubernetes writes in code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from argosy.objects import durations, meta
from argosy.objects.status import FieldError
from argosy.objects.types import JsonObject

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")

Default = Callable[[JsonObject], None]
"""Fills absent fields of a private copy, in place."""
Validate = Callable[[JsonObject], list[FieldError]]
ValidateUpdate = Callable[[JsonObject, JsonObject], list[FieldError]]
"""(new, old): what may not change, beyond `validate` of the new object."""
PrepareCreate = Callable[[JsonObject], None]
"""Registry strategy on create, in place: drop status, set what clients cannot."""
PrepareUpdate = Callable[[JsonObject, JsonObject], None]
"""(new, old), in place: keep what a main-resource update must not change, e.g. status."""
PrepareDelete = Callable[[JsonObject, str], None]
"""(object, present time), in place, when a deletion begins: what must be done before the object may go."""
FieldGetter = Callable[[JsonObject], str]
Convert = Callable[[JsonObject], JsonObject]


@dataclass(frozen=True)
class Column:
    """One printer column. `value` gets the object and the present time (Unix seconds, for ages)."""

    name: str
    value: Callable[[JsonObject, float], object]
    type: str = "string"
    """string, integer, number, boolean or date."""
    format: str = ""
    """`name` for the first column of every table."""
    description: str = ""
    priority: int = 0
    """0: always; 1: only with -o wide."""


def _name(obj: JsonObject, _now: float) -> object:
    return meta.name(obj)


def _age(obj: JsonObject, now: float) -> object:
    return durations.age(meta.metadata(obj).get("creationTimestamp"), now)


NAME_COLUMN = Column("Name", _name, format="name", description="Name of the object, unique in its namespace.")
AGE_COLUMN = Column("Age", _age, description="Time since the object was created.")


@dataclass(frozen=True)
class Subresource:
    """`name` such as status, scale, binding, eviction, log, exec, token, ephemeralcontainers."""

    name: str
    kind: str
    """The kind that the subresource takes and gives, e.g. Scale, Eviction, or the parent's own."""
    group: str
    version: str
    verbs: tuple[str, ...] = ("get", "patch", "update")


def no_errors(_obj: JsonObject) -> list[FieldError]:
    return []


@dataclass(frozen=True)
class Version:
    """A served version that is not stored; conversion goes through the stored form."""

    version: str
    to_storage: Convert
    from_storage: Convert
    group: str | None = None
    """When served under another group too (Event: events.k8s.io)."""
    fields: Mapping[str, FieldGetter] | None = None
    """Its field selector labels, on the stored form, when they are not those of the stored version."""
    validate_create: Validate = no_errors
    """What this version asks of a new object (in the stored form) beyond the rules of the kind."""


def no_update_errors(_new: JsonObject, _old: JsonObject) -> list[FieldError]:
    return []


def keep(_obj: JsonObject) -> None:
    """A default or strategy that changes nothing."""


def keep_status(new: JsonObject, old: JsonObject) -> None:
    """The main resource's update never changes status."""
    if "status" in old:
        new["status"] = old["status"]
    else:
        new.pop("status", None)


def delete_at_once(_obj: JsonObject, _now: str) -> None:
    """A kind that waits for nothing but its finalizers."""


def keep_all(_new: JsonObject, _old: JsonObject) -> None:
    """An update strategy for kinds without status."""


def drop_status(obj: JsonObject) -> None:
    obj.pop("status", None)


@dataclass(frozen=True)
class Kind:
    group: str
    """Empty for the core group."""
    version: str
    """The version that is stored, and served."""
    kind: str
    plural: str
    singular: str
    namespaced: bool
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    subresources: tuple[Subresource, ...] = ()
    versions: tuple[Version, ...] = ()
    """Further served versions, best first."""
    default: Default = keep
    validate: Validate = no_errors
    validate_update: ValidateUpdate = no_update_errors
    validate_status_update: ValidateUpdate = no_update_errors
    validate_subresources: Mapping[str, ValidateUpdate] = field(default_factory=dict)
    """The same for updates by subresources that change of the object what its own update may not."""
    validate_create: Validate = no_errors
    """What only a new object must not have, beyond `validate`."""
    prepare_create: PrepareCreate = keep
    prepare_update: PrepareUpdate = keep_all
    prepare_status_update: PrepareUpdate = keep_all
    """The same for an update of status: what of the old status it cannot change."""
    prepare_delete: PrepareDelete = delete_at_once
    status_keeps_metadata: tuple[str, ...] = ()
    """Metadata that an update of status cannot change; all other metadata it can, as upstream's strategies let it."""
    columns: tuple[Column, ...] = ()
    """After Name and before nothing: the file lists all but the Name column. Empty: Name and Age."""
    fields: Mapping[str, FieldGetter] = field(default_factory=dict)
    """Field selector labels besides metadata.name and metadata.namespace."""
    has_generation: bool = False
    """metadata.generation counts changes outside metadata and status."""
    generation_counts_annotations: bool = False
    """And changes of annotations (Deployment, which hands them on to its ReplicaSets)."""
    graceful: bool = False
    """Deletion honours a grace period (pods)."""
    allow_create_on_update: bool = False
    """PUT of a missing object creates it (leases, endpoints…)."""
    virtual: bool = False
    """Answered, never stored (SubjectAccessReview, TokenReview…)."""
    delete_returns_object: bool = False
    unconditional_update: bool = True
    """An update may leave metadata.resourceVersion out."""
    name_is_path_segment: bool = False
    """Names are path segments (RBAC: `system:node`), not DNS subdomains."""
    name_validator: Callable[[str], str] | None = None
    """Gives the complaint about a name, or an empty string; None: DNS-1123 subdomain."""
    list_name: str = ""
    """The kind of its lists; empty: the kind with List after it."""
    custom: bool = False
    """From a CustomResourceDefinition: one value per served version, worked on in the version that was asked for."""
    deprecation: str = ""
    """What callers are warned of."""
    scale_paths: tuple[str, str, str] = ("", "", "")
    """Custom kinds with a scale subresource: where the replicas of spec and status and the selector are."""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def table(self) -> tuple[Column, ...]:
        """Every printer column: Name first, unless the kind places it itself; Age alone when it has no others."""
        if any(column.name == NAME_COLUMN.name for column in self.columns):
            return self.columns
        return (NAME_COLUMN, *(self.columns or (AGE_COLUMN,)))

    def subresource(self, name: str) -> Subresource | None:
        return next((sub for sub in self.subresources if sub.name == name), None)

    @property
    def list_kind(self) -> str:
        return self.list_name or self.kind + "List"

    @property
    def has_status(self) -> bool:
        return any(sub.name == "status" for sub in self.subresources)


def status_subresource(group: str, version: str, kind: str) -> Subresource:
    return Subresource("status", kind, group, version)


def scale_subresource() -> Subresource:
    return Subresource("scale", "Scale", "autoscaling", "v1")


@dataclass(frozen=True)
class Kinds:
    """Look-ups over a set of kinds."""

    all: Sequence[Kind]
    _by_resource: dict[tuple[str, str], Kind] = field(init=False, repr=False)
    _by_kind: dict[tuple[str, str], Kind] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        by_resource: dict[tuple[str, str], Kind] = {}
        by_kind: dict[tuple[str, str], Kind] = {}
        for kind in self.all:
            for group in {kind.group, *(v.group for v in kind.versions if v.group is not None)}:
                by_resource[group, kind.plural] = kind
                by_kind[group, kind.kind] = kind
        object.__setattr__(self, "_by_resource", by_resource)
        object.__setattr__(self, "_by_kind", by_kind)

    def resource(self, group: str, plural: str) -> Kind | None:
        return self._by_resource.get((group, plural))

    def kind(self, group: str, kind: str) -> Kind | None:
        return self._by_kind.get((group, kind))
