"""What seals one value and opens it again: identity, AES-GCM and AES-CBC under named keys.

Forms and prefixes are upstream's (k8s.io/apiserver `storage/value/encrypt`), so that stores can change hands:
`k8s:enc:aesgcm:v1:KEYNAME:` + nonce + sealed bytes, with the store's key as additional data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from argosy.host import Rng

ENCRYPTED: Final = b"k8s:enc:"
NONCE_BYTES: Final = 12
BLOCK_BYTES: Final = 16


class Unreadable(ValueError):
    """A value that no provider opens."""


class Provider(Protocol):
    prefix: bytes
    """What its values begin with; empty for identity, which reads what nobody sealed."""

    def seal(self, key: str, value: bytes) -> bytes:
        """Raises Unsealable."""

    def open(self, key: str, sealed: bytes) -> bytes:
        """A value with the prefix. Raises Unreadable."""

    async def prepare(self, sealed: bytes) -> None:
        """Fetch what opening this value needs; failing that, `open` says why."""

    @property
    def marker(self) -> bytes:
        """What it seals with now: another one after a rotation."""

    def is_current(self, sealed: bytes) -> bool:
        """Whether it would seal this value with the same key today."""


class Unsealable(Exception):
    """A value cannot be encrypted now, and is not stored plain instead."""


class Identity:
    prefix = b""

    def seal(self, key: str, value: bytes) -> bytes:
        return value

    def open(self, key: str, sealed: bytes) -> bytes:
        if sealed.startswith(ENCRYPTED):
            raise Unreadable("identity transformer tried to read encrypted data")
        return sealed

    async def prepare(self, sealed: bytes) -> None:
        """Nothing is needed."""

    @property
    def marker(self) -> bytes:
        return b"identity"

    def is_current(self, sealed: bytes) -> bool:
        return not sealed.startswith(ENCRYPTED)


class _Keyed:
    """Several named keys: the first seals, the name says which opens."""

    prefix: bytes

    def __init__(self, keys: Sequence[tuple[str, bytes]], rng: Rng) -> None:
        self._keys = [(name.encode() + b":", key) for name, key in keys]
        self._rng = rng

    def seal(self, key: str, value: bytes) -> bytes:
        name, secret = self._keys[0]
        return self.prefix + name + self._encrypt(secret, key, value)

    def open(self, key: str, sealed: bytes) -> bytes:
        rest, why = sealed[len(self.prefix) :], "no matching key was found for the provided AES transformer"
        for name, secret in self._keys:
            if rest.startswith(name):
                try:
                    return self._decrypt(secret, key, rest[len(name) :])
                except Unreadable as error:
                    why = str(error)
        raise Unreadable(why)

    async def prepare(self, sealed: bytes) -> None:
        """Nothing is needed."""

    @property
    def marker(self) -> bytes:
        return self.prefix + self._keys[0][0]

    def is_current(self, sealed: bytes) -> bool:
        return sealed.startswith(self.marker)

    def _encrypt(self, secret: bytes, key: str, value: bytes) -> bytes:
        raise NotImplementedError

    def _decrypt(self, secret: bytes, key: str, data: bytes) -> bytes:
        raise NotImplementedError


def gcm_seal(secret: bytes, nonce: bytes, value: bytes, key: str) -> bytes:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return nonce + AESGCM(secret).encrypt(nonce, value, key.encode())


def gcm_open(secret: bytes, data: bytes, key: str) -> bytes:
    """Raises Unreadable."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    if len(data) < NONCE_BYTES:
        raise Unreadable("the stored data was shorter than the required size")
    try:
        return AESGCM(secret).decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], key.encode())
    except InvalidTag:
        raise Unreadable("cipher: message authentication failed") from None


class AesGcm(_Keyed):
    prefix = b"k8s:enc:aesgcm:v1:"

    def _encrypt(self, secret: bytes, key: str, value: bytes) -> bytes:
        return gcm_seal(secret, self._rng.token(NONCE_BYTES), value, key)

    def _decrypt(self, secret: bytes, key: str, data: bytes) -> bytes:
        return gcm_open(secret, data, key)


class AesCbc(_Keyed):
    """Kept for values that were written with it; it does not notice every change of its bytes."""

    prefix = b"k8s:enc:aescbc:v1:"

    def _encrypt(self, secret: bytes, key: str, value: bytes) -> bytes:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
        from cryptography.hazmat.primitives.padding import PKCS7

        vector = self._rng.token(BLOCK_BYTES)
        padder = PKCS7(8 * BLOCK_BYTES).padder()
        encryptor = Cipher(algorithms.AES(secret), modes.CBC(vector)).encryptor()
        return vector + encryptor.update(padder.update(value) + padder.finalize()) + encryptor.finalize()

    def _decrypt(self, secret: bytes, key: str, data: bytes) -> bytes:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
        from cryptography.hazmat.primitives.padding import PKCS7

        if len(data) < 2 * BLOCK_BYTES or len(data) % BLOCK_BYTES:
            raise Unreadable("the stored data is not a multiple of the block size")
        decryptor = Cipher(algorithms.AES(secret), modes.CBC(data[:BLOCK_BYTES])).decryptor()
        unpadder = PKCS7(8 * BLOCK_BYTES).unpadder()
        try:
            return unpadder.update(decryptor.update(data[BLOCK_BYTES:]) + decryptor.finalize()) + unpadder.finalize()
        except ValueError:
            raise Unreadable("invalid padding on input") from None
