"""Generated names and hashes in the alphabet that spells no words (k8s.io/apimachinery `pkg/util/rand`)."""

from __future__ import annotations

import hashlib
import json

from argosy.host import Rng
from argosy.objects.types import JsonObject

ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
SUFFIX_CHARS = 5
MAX_BASE_CHARS = 63 - SUFFIX_CHARS


def suffix(rng: Rng, length: int = SUFFIX_CHARS) -> str:
    return "".join(ALPHABET[rng.randrange(len(ALPHABET))] for _ in range(length))


def name(base: str, rng: Rng) -> str:
    """A name for `metadata.generateName`: at most 63 characters."""
    return base[:MAX_BASE_CHARS] + suffix(rng)


def safe_encode(text: str) -> str:
    """`text` letter by letter in the alphabet."""
    return "".join(ALPHABET[ord(char) % len(ALPHABET)] for char in text)


def hash_object(value: JsonObject, collision_count: int = 0) -> str:
    """A short stable hash of JSON; the same for equal content in any key order."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    digest = hashlib.blake2b(text.encode(), digest_size=4, salt=collision_count.to_bytes(8, "big")).digest()
    return safe_encode(str(int.from_bytes(digest, "big")))


def template_hash(template: JsonObject, collision_count: int = 0) -> str:
    """The `pod-template-hash` (or controller revision hash) of a pod template.

    Not upstream's number, which is a hash of Go's memory layout; only equality matters to anyone.
    """
    return hash_object(template, collision_count)
