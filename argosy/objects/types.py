"""The one name for "a Kubernetes object as decoded JSON".

Objects are plain dicts and are never mutated once shared (put into a cache, handed to a handler). Code that
changes one copies it first (`argosy.objects.meta.copy`).
"""

from __future__ import annotations

from typing import Any

JsonObject = dict[str, Any]
"""A decoded JSON object. `Any` is honest here: the schema is checked at the API server's edge, not by mypy."""
