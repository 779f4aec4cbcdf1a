"""One version of one object: decoded, and its bytes as they are served.

Entries are shared by every reader and never changed. Other served versions are converted once, on first use.
"""

from __future__ import annotations

import orjson

from argosy.kinds.kind import Version
from argosy.objects import meta
from argosy.objects.types import JsonObject
from control_plane.apiserver.storage import codec

DEFAULT_FORM = ""


class Entry:
    """`obj` carries metadata.resourceVersion; `raw` is its JSON."""

    __slots__ = ("_forms", "key", "obj", "raw", "revision")

    def __init__(self, key: str, revision: int, obj: JsonObject, raw: bytes) -> None:
        self.key = key
        """`namespace/name`, or `name` for cluster scope."""
        self.revision = revision
        self.obj = obj
        self.raw = raw
        self._forms: dict[str, tuple[JsonObject, bytes]] | None = None

    @staticmethod
    def stored(key: str, value: bytes, revision: int) -> Entry:
        """From stored bytes. Raises ValueError."""
        raw = codec.splice(value, revision)
        return Entry(key, revision, orjson.loads(raw), raw)

    def at(self, revision: int) -> Entry:
        """The same object with another resourceVersion: the last state of a deleted one."""
        obj = {**self.obj, "metadata": {**self.obj["metadata"], "resourceVersion": str(revision)}}
        return Entry(self.key, revision, obj, codec.splice(codec.encode(obj), revision))

    def form(self, version: Version | None, api_version: str) -> tuple[JsonObject, bytes]:
        """The object and its bytes in a served version; None is the stored one."""
        if version is None:
            return self.obj, self.raw
        if self._forms is None:
            self._forms = {}
        found = self._forms.get(api_version)
        if found is None:
            converted = version.from_storage(meta.copy_object(self.obj))
            converted = {**converted, "apiVersion": api_version}
            found = self._forms[api_version] = (converted, orjson.dumps(converted))
        return found
