"""OpenAPI v3 and v2, from the kinds that are served and upstream's definitions."""

from control_plane.apiserver.openapi.documents import V2_PROTOBUF, OpenApi

__all__ = ["V2_PROTOBUF", "OpenApi"]
