"""A reference KMS v2 plug-in: the key that seals the API server's keys never leaves it.

python -m tests.unit.apiserver.kms_plugin unix:/run/kms.sock SECRET
"""

from __future__ import annotations

import asyncio
import hashlib
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from argosy.host import RealRng, Rng
from argosy.pb import kms_pb2 as pb
from argosy.rpc import Call, Code, GrpcNetwork, Methods, RpcError

SERVICE = "/v2.KeyManagementService/"


class KmsPlugin:
    """`rotate` makes a new key; earlier ones still open. Tests break it by its attributes, and count its calls."""

    def __init__(self, rng: Rng, secret: bytes = b"one") -> None:
        self._rng = rng
        self._keys: dict[str, bytes] = {}
        self.key_id = ""
        self.healthz = "ok"
        self.away = False
        self.calls: list[str] = []
        self.rotate(secret)

    def rotate(self, secret: bytes) -> None:
        key = hashlib.sha256(secret).digest()
        self.key_id = "key-" + hashlib.sha256(key).hexdigest()[:8]
        self._keys[self.key_id] = key

    def forget(self, key_id: str) -> None:
        del self._keys[key_id]

    def methods(self) -> Methods:
        return Methods({SERVICE + name: getattr(self, name.lower()) for name in ("Status", "Encrypt", "Decrypt")})

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if self.away:
            raise RpcError(Code.UNAVAILABLE, "the vault is sealed")

    async def status(self, _request: bytes, _call: Call) -> bytes:
        self._called("Status")
        return pb.StatusResponse(version="v2", healthz=self.healthz, key_id=self.key_id).SerializeToString()

    async def encrypt(self, body: bytes, _call: Call) -> bytes:
        self._called("Encrypt")
        request = pb.EncryptRequest.FromString(body)
        nonce = self._rng.token(12)
        sealed = AESGCM(self._keys[self.key_id]).encrypt(nonce, request.plaintext, None)
        return pb.EncryptResponse(
            ciphertext=nonce + sealed, key_id=self.key_id, annotations={"version.kms.test": b"1"}
        ).SerializeToString()

    async def decrypt(self, body: bytes, _call: Call) -> bytes:
        self._called("Decrypt")
        request = pb.DecryptRequest.FromString(body)
        key, data = self._keys.get(request.key_id), request.ciphertext
        if key is None or request.annotations["version.kms.test"] != b"1":
            raise RpcError(Code.INVALID_ARGUMENT, f"no key {request.key_id}")
        try:
            return pb.DecryptResponse(plaintext=AESGCM(key).decrypt(data[:12], data[12:], None)).SerializeToString()
        except InvalidTag:
            raise RpcError(Code.INVALID_ARGUMENT, "not sealed by this key") from None


async def main(address: str, secret: str) -> None:
    await GrpcNetwork().serve(address, KmsPlugin(RealRng(), secret.encode()).methods())
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
