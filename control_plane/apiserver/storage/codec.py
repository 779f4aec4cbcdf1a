"""How an object stands in the store: JSON with apiVersion, kind and metadata first, without resourceVersion.

The revision of the key is the object's resourceVersion; it is spliced into the stored bytes, so that what was
written once serves every reader without being encoded again.
"""

from __future__ import annotations

import re
from typing import Final

import orjson

from argosy.objects.types import JsonObject

_HEAD: Final = re.compile(rb'\{"apiVersion":"[^"\\]*","kind":"[^"\\]*","metadata":\{(?=")')


def encode(obj: JsonObject) -> bytes:
    """The stored bytes of an object; its metadata.resourceVersion is left out."""
    ordered: JsonObject = {"apiVersion": obj["apiVersion"], "kind": obj["kind"]}
    ordered["metadata"] = {key: value for key, value in obj["metadata"].items() if key != "resourceVersion"}
    for key, value in obj.items():
        if key not in ordered:
            ordered[key] = value
    return orjson.dumps(ordered)


def splice(value: bytes, revision: int) -> bytes:
    """Stored bytes with the resourceVersion in its place. Raises ValueError when they are no JSON object."""
    match = _HEAD.match(value)
    if match is None:
        value = encode(orjson.loads(value))
        match = _HEAD.match(value)
        if match is None:
            raise ValueError("a stored object has no metadata")
    at = match.end()
    return b'%b"resourceVersion":"%d",%b' % (value[:at], revision, value[at:])


def unsplice(raw: bytes) -> bytes:
    """Served bytes back to stored bytes; the inverse of `splice`."""
    return encode(orjson.loads(raw))
