"""The KMS v2 provider: an external vault, behind a plug-in on a Unix socket, keeps the key that seals our keys.

Upstream: k8s.io/apiserver `encrypt/envelope/kmsv2` and `encryptionconfig`. The plug-in seals a random seed once, and
that is reused until the plug-in's key changes; each value's own key is derived from the seed and 32 random bytes
(HKDF-SHA256, expand only), so that nothing wears out. What was sealed by other seeds (of other API servers, of
earlier keys) is opened after asking the plug-in once.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from argosy import logs
from argosy.host import Host
from argosy.pb import kms_pb2 as pb
from argosy.rpc import Channel, RpcError
from control_plane.apiserver.storage.encryption.configuration import KmsSettings
from control_plane.apiserver.storage.encryption.providers import (
    NONCE_BYTES,
    Unreadable,
    Unsealable,
    gcm_open,
    gcm_seal,
)

log = logs.get("apiserver.kms")

SERVICE: Final = "/v2.KeyManagementService/"
SEED_TYPE: Final = 1
SEED_BYTES: Final = 32
INFO_BYTES: Final = 32
MAX_KEY_ID_BYTES: Final = 1 << 10
MAX_SEALED_SEED_BYTES: Final = 1 << 10
MAX_ANNOTATION_BYTES: Final = 32 << 10
SEED_LIFE_S: Final = 180.0
"""A seed is not used for longer after the plug-in last confirmed its key."""
MAX_SEEDS: Final = 1000
HEALTHY_S: Final = 20.0
UNHEALTHY_S: Final = 3.0
"""How often the plug-in is asked for its status."""


class KmsError(Exception):
    """The plug-in is away, not well, or answers nonsense."""


@dataclass(frozen=True)
class _Seed:
    plain: bytes
    sealed: bytes
    key_id: str
    annotations: dict[str, bytes]
    expires_s: float


def _derived(seed: bytes, info: bytes) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

    return HKDFExpand(algorithm=SHA256(), length=32, info=info).derive(seed)


class Kms:
    """`refresh` must be called now and then: it makes the seed, and a new one when the key has changed."""

    def __init__(self, settings: KmsSettings, channel: Channel, host: Host) -> None:
        self.settings = settings
        self.name = settings.name
        self.prefix = f"k8s:enc:kms:v2:{settings.name}:".encode()
        self.problem = "no status yet"
        """Why the plug-in is not healthy; empty when it is."""
        self._channel, self._host = channel, host
        self._seed: _Seed | None = None
        self._known: OrderedDict[bytes, bytes] = OrderedDict()
        """Opened seeds and keys by their sealed form."""
        self._failed: dict[bytes, str] = {}

    @property
    def key_id(self) -> str:
        return self._seed.key_id if self._seed else ""

    @property
    def marker(self) -> bytes:
        return self.prefix + self.key_id.encode()

    def is_current(self, sealed: bytes) -> bool:
        try:
            return sealed.startswith(self.prefix) and self._parsed(sealed).key_id == self.key_id
        except Unreadable:
            return False

    # Sealing and opening

    def seal(self, key: str, value: bytes) -> bytes:
        seed = self._seed
        if seed is None:
            raise Unsealable(f"KMS provider {self.name}: {self.problem}")
        if self._host.clock.monotonic() > seed.expires_s:
            raise Unsealable(f"KMS provider {self.name}: encryptedDEKSource expired: {self.problem}")
        info = self._host.rng.token(INFO_BYTES)
        sealed = gcm_seal(_derived(seed.plain, info), self._host.rng.token(NONCE_BYTES), value, key)
        body = pb.EncryptedObject(
            encrypted_data=info + sealed,
            key_id=seed.key_id,
            encrypted_dek_source=seed.sealed,
            annotations=seed.annotations,
            encrypted_dek_source_type=SEED_TYPE,
        )
        return self.prefix + body.SerializeToString()

    def open(self, key: str, sealed: bytes) -> bytes:
        body = self._parsed(sealed)
        identity = _identity(body)
        secret = self._known.get(identity)
        if secret is None:
            why = self._failed.get(identity) or self.problem or "the plug-in was not asked"
            raise Unreadable(f"failed to decrypt DEK, error: {why}")
        self._known.move_to_end(identity)
        data = body.encrypted_data
        if body.encrypted_dek_source_type != SEED_TYPE:
            return gcm_open(secret, data, key)
        if len(data) < INFO_BYTES:
            raise Unreadable("the stored data was shorter than the required size")
        return gcm_open(_derived(secret, data[:INFO_BYTES]), data[INFO_BYTES:], key)

    async def prepare(self, sealed: bytes) -> None:
        try:
            body = self._parsed(sealed)
        except Unreadable:
            return
        identity = _identity(body)
        if identity in self._known:
            return
        request = pb.DecryptRequest(
            ciphertext=body.encrypted_dek_source,
            uid=self._host.rng.uuid(),
            key_id=body.key_id,
            annotations=body.annotations,
        )
        try:
            plain = pb.DecryptResponse.FromString(await self._call("Decrypt", request.SerializeToString())).plaintext
            if len(plain) < SEED_BYTES and body.encrypted_dek_source_type == SEED_TYPE:
                raise KmsError(f"invalid seed length {len(plain)} used for key generation")
        except KmsError as error:
            self._failed = {**dict(list(self._failed.items())[-MAX_SEEDS:]), identity: str(error)}
            return
        self._failed.pop(identity, None)
        self._remember(identity, plain)

    def _parsed(self, sealed: bytes) -> pb.EncryptedObject:
        from google.protobuf.message import DecodeError

        try:
            return pb.EncryptedObject.FromString(sealed[len(self.prefix) :])
        except DecodeError:
            raise Unreadable("the stored data is no EncryptedObject") from None

    def _remember(self, identity: bytes, plain: bytes) -> None:
        self._known[identity] = plain
        while len(self._known) > MAX_SEEDS:
            self._known.popitem(last=False)

    # The plug-in

    async def refresh(self) -> float:
        """Ask for the status; a new seed when the key is another. Seconds after which to ask again."""
        before = self.problem
        try:
            status = pb.StatusResponse.FromString(await self._call("Status", b""))
            _check_status(status)
            seed = self._seed
            if seed is None or seed.key_id != status.key_id:
                seed = await self._new_seed()
            expires_s = self._host.clock.monotonic() + SEED_LIFE_S
            self._seed = _Seed(seed.plain, seed.sealed, seed.key_id, seed.annotations, expires_s)
            self.problem = ""
        except KmsError as error:
            self.problem = str(error)
        if self.problem != before:
            log.info("KMS plug-in", provider=self.name, healthy=not self.problem, problem=self.problem)
        return UNHEALTHY_S if self.problem else HEALTHY_S

    async def _new_seed(self) -> _Seed:
        plain = self._host.rng.token(SEED_BYTES)
        request = pb.EncryptRequest(plaintext=plain, uid=self._host.rng.uuid())
        answer = pb.EncryptResponse.FromString(await self._call("Encrypt", request.SerializeToString()))
        _check_sealed(answer)
        seed = _Seed(plain, answer.ciphertext, answer.key_id, dict(answer.annotations), 0.0)
        body = pb.EncryptedObject(
            key_id=seed.key_id,
            encrypted_dek_source=seed.sealed,
            annotations=seed.annotations,
            encrypted_dek_source_type=SEED_TYPE,
        )
        self._remember(_identity(body), plain)
        log.info("new seed", provider=self.name, key_id_bytes=len(seed.key_id))
        return seed

    async def _call(self, method: str, request: bytes) -> bytes:
        """Raises KmsError."""
        try:
            return await self._channel.unary(SERVICE + method, request, timeout_s=self.settings.timeout_s)
        except RpcError as error:
            raise KmsError(f"{method}: {error.code.name}: {error.message}") from None

    async def close(self) -> None:
        await self._channel.close()


def _identity(body: pb.EncryptedObject) -> bytes:
    """What a seed is known by; everything that the plug-in is told of it."""
    kept = pb.EncryptedObject(
        key_id=body.key_id,
        encrypted_dek_source=body.encrypted_dek_source,
        annotations=body.annotations,
        encrypted_dek_source_type=body.encrypted_dek_source_type,
    )
    return kept.SerializeToString(deterministic=True)


def _check_status(status: pb.StatusResponse) -> None:
    """Raises KmsError."""
    if status.healthz != "ok":
        raise KmsError(f"got unexpected healthz status: {status.healthz}")
    if status.version not in ("v2", "v2beta1"):
        raise KmsError(f"expected KMSv2 API version v2, got {status.version}")
    _check_key_id(status.key_id)


def _check_key_id(key_id: str) -> None:
    if not key_id:
        raise KmsError("keyID is empty")
    if len(key_id.encode()) > MAX_KEY_ID_BYTES:
        raise KmsError(f"keyID is {len(key_id.encode())} bytes, which exceeds the max size of {MAX_KEY_ID_BYTES}")


def _check_sealed(answer: pb.EncryptResponse) -> None:
    """Raises KmsError."""
    _check_key_id(answer.key_id)
    if not answer.ciphertext:
        raise KmsError("encrypted DEK source is empty")
    if len(answer.ciphertext) > MAX_SEALED_SEED_BYTES:
        size = len(answer.ciphertext)
        raise KmsError(f"encrypted DEK source is {size} bytes, which exceeds the max size of {MAX_SEALED_SEED_BYTES}")
    total = sum(len(key.encode()) + len(value) for key, value in answer.annotations.items())
    if total > MAX_ANNOTATION_BYTES:
        raise KmsError(f"total size of annotations is {total}, which exceeds the max size of {MAX_ANNOTATION_BYTES}")
