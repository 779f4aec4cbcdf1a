"""Secrets at rest: AES-256-GCM on chosen resources' values, with key rotation.

The key file has one `NAME:BASE64KEY` per line (32 bytes each); the first writes, all read. Values that were stored
plain are read as they are. Form and additional data (the store's key) follow upstream's aesgcm provider: the
prefix `k8s:enc:aesgcm:v1:NAME:`, a 12-byte nonce, the sealed bytes.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from argosy.host import Rng

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_PREFIX: Final = b"k8s:enc:aesgcm:v1:"
_NONCE_BYTES: Final = 12


class Transformer:
    """Seals and opens values whose key starts with one of `prefixes`."""

    def __init__(self, rng: Rng, keys: Sequence[tuple[str, bytes]] = (), prefixes: Sequence[str] = ()) -> None:
        self._rng = rng
        self._prefixes = tuple(prefixes)
        self._keys: list[tuple[bytes, AESGCM]] = []
        if keys:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM

            self._keys = [(name.encode(), AESGCM(key)) for name, key in keys]

    def seal(self, key: str, value: bytes) -> bytes:
        if not self._keys or not key.startswith(self._prefixes):
            return value
        name, cipher = self._keys[0]
        nonce = self._rng.token(_NONCE_BYTES)
        return _PREFIX + name + b":" + nonce + cipher.encrypt(nonce, value, key.encode())

    def open(self, key: str, value: bytes) -> bytes:
        """Raises ValueError when no key opens it."""
        if not value.startswith(_PREFIX):
            return value
        name, _, sealed = value[len(_PREFIX) :].partition(b":")
        from cryptography.exceptions import InvalidTag

        for known, cipher in self._keys:
            if known == name:
                try:
                    return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], key.encode())
                except InvalidTag:
                    break
        raise ValueError(f"no encryption key opens {key}")


def parse_keys(text: str) -> list[tuple[str, bytes]]:
    """The keys of a key file's text. Raises ValueError."""
    keys: list[tuple[str, bytes]] = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        name, _, encoded = line.partition(":")
        try:
            key = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            raise ValueError(f"encryption keys, line {number}: not base64") from None
        if len(key) != 32:
            raise ValueError(f"encryption keys, line {number}: a key has 32 bytes, this one {len(key)}")
        keys.append((name, key))
    if not keys:
        raise ValueError("encryption keys: the file holds no key")
    return keys
