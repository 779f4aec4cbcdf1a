"""The types of the API: upstream's definitions, compiled checks, and what patches and managed fields need."""

from control_plane.apiserver.schema.catalog import Catalog
from control_plane.apiserver.schema.schemas import CheckResult, Compiled, Schemas, patch_error, strict_message
from control_plane.apiserver.schema.types import ANY, Field, Scalar, Shape, Type

__all__ = [
    "ANY",
    "Catalog",
    "CheckResult",
    "Compiled",
    "Field",
    "Scalar",
    "Schemas",
    "Shape",
    "Type",
    "patch_error",
    "strict_message",
]
