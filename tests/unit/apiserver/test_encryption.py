"""Encryption at rest: what the store really holds, rotation of keys, wrong keys, and a vault behind a KMS plug-in."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest

from argosy.host import Host, RealClock, RealDisk, SeededRng
from argosy.objects import meta
from argosy.objects.status import ApiError
from argosy.pb import etcd_pb2 as pb
from argosy.rpc_memory import MemoryNetwork
from control_plane.apiserver.storage.encryption import configuration
from control_plane.apiserver.storage.encryption.configuration import KmsSettings
from control_plane.apiserver.storage.encryption.kms import SEED_LIFE_S, Kms
from control_plane.apiserver.storage.encryption.providers import Unreadable, Unsealable
from control_plane.apiserver.storage.encryption.transformer import Transformer
from tests.unit.apiserver.kms_plugin import KmsPlugin

PLAIN = b"geheim"
SECRET_KEY = "/registry/secrets/default/s"
VALUE = (
    b'{"apiVersion":"v1","kind":"Secret","metadata":{"name":"t","namespace":"default","uid":"u"},'
    b'"data":{"password":"geheim"}}'
)


def keys(*names: str) -> dict[str, Any]:
    return {
        "keys": [
            {"name": name, "secret": base64.b64encode(name.encode().ljust(32, b".")[:32]).decode()} for name in names
        ]
    }


def config(*rules: tuple[list[str], list[dict[str, Any]]]) -> str:
    listed = [{"resources": resources, "providers": providers} for resources, providers in rules]
    return json.dumps(
        {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration", "resources": listed}
    )


def secret(name: str = "s") -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": "default"},
        "stringData": {"password": PLAIN.decode()},
    }


async def raw(api: Any, key: str) -> bytes:
    found = await api.server.parts.store.client.range(pb.RangeRequest(key=key.encode()))
    return bytes(found.kvs[0].value)


def transformer(path: Path, text: str) -> Transformer:
    path.write_text(text)
    made = Transformer(
        Host(RealClock(), SeededRng(1), RealDisk()), None, str(path), ("secrets", "configmaps", "pods")
    )
    made.load()
    return made


@pytest.mark.parametrize("kind", ["aesgcm", "aescbc"])
def test_nothing_plain_is_in_the_store(with_api, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(config((["secrets"], [{kind: keys("one")}, {"identity": {}}])))

    async def body(api) -> None:
        secrets = api.client().resource("", "v1", "secrets")
        await secrets.create(secret())
        await api.configmaps.create(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "default"}}
        )
        read = await secrets.get("s", namespace="default")
        assert base64.b64decode(read["data"]["password"]) == PLAIN
        stored = await raw(api, SECRET_KEY)
        assert stored.startswith(f"k8s:enc:{kind}:v1:one:".encode())
        assert PLAIN not in stored and base64.b64encode(PLAIN) not in stored and b"password" not in stored
        assert (await raw(api, "/registry/configmaps/default/c")).startswith(b"{")
        for who in ("somebody", "system:node:n1"):
            groups = ("system:nodes",) if who.startswith("system") else ("system:authenticated",)
            with pytest.raises(ApiError) as caught:
                await api.client(who, *groups).resource("", "v1", "secrets").get("s", namespace="default")
            assert caught.value.code == 403

    with_api(body, encryption_provider_config=str(path))


def test_keys_are_rotated_while_the_server_runs(with_api, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(config((["secrets"], [{"identity": {}}])))

    async def sealed_with(api, name: str) -> None:
        """The file is followed; then every secret is written again, as docs/storage.md says."""
        secrets = api.client().resource("", "v1", "secrets")
        prefix = f"k8s:enc:aesgcm:v1:{name}:".encode() if name else b"{"
        async with asyncio.timeout(20):
            while not (await raw(api, SECRET_KEY)).startswith(prefix):
                for item in (await secrets.list()).items:
                    await secrets.update({**item, "apiVersion": "v1", "kind": "Secret"})
                await asyncio.sleep(0.1)
        read = await secrets.get("s", namespace="default")
        assert base64.b64decode(read["data"]["password"]) == PLAIN
        again = await secrets.update(read)
        assert meta.resource_version(again) == meta.resource_version(read), "now nothing changes"

    async def body(api) -> None:
        await api.client().resource("", "v1", "secrets").create(secret())
        await sealed_with(api, "")
        path.write_text(config((["secrets"], [{"aesgcm": keys("one")}, {"identity": {}}])))
        await sealed_with(api, "one")
        path.write_text("not: a configuration")
        await asyncio.sleep(1.2)
        path.write_text(config((["secrets"], [{"aesgcm": keys("two", "one")}])))
        await sealed_with(api, "two")
        path.write_text(config((["secrets"], [{"aesgcm": keys("two")}])))
        await sealed_with(api, "two")

    with_api(body, encryption_provider_config=str(path), encryption_provider_config_automatic_reload=True)


def test_what_no_key_opens_is_told_and_opens_again_with_its_key(with_api, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(config((["secrets"], [{"aesgcm": keys("one")}])))

    async def body(api) -> None:
        secrets = api.client().resource("", "v1", "secrets")
        await secrets.create(secret())
        sealed = await raw(api, SECRET_KEY)
        # Another server, with a key of its own, writes.
        other = transformer(tmp_path / "other.yaml", config((["secrets"], [{"aesgcm": keys("lost")}])))
        put = pb.TxnRequest()
        entry = put.success.add().request_put
        entry.key, entry.value = b"/registry/secrets/default/t", other.seal("/registry/secrets/default/t", VALUE)
        await api.server.parts.store.client.txn(put)
        why = (
            'Internal error occurred: unable to transform key "/registry/secrets/default/t": no matching key was '
            "found for the provided AES transformer"
        )
        for call in (
            lambda: secrets.get("t", namespace="default"),
            secrets.list,
            lambda: secrets.list(namespace="default"),
            lambda: secrets.patch("t", {"metadata": {"labels": {"a": "b"}}}, namespace="default"),
        ):
            with pytest.raises(ApiError) as caught:
                await call()
            assert (caught.value.code, caught.value.message) == (500, why)
        assert await secrets.get("s", namespace="default")
        assert await raw(api, SECRET_KEY) == sealed
        path.write_text(config((["secrets"], [{"aesgcm": keys("one", "lost")}])))
        async with asyncio.timeout(20):
            while True:
                try:
                    assert len((await secrets.list()).items) >= 1
                    break
                except ApiError:
                    await asyncio.sleep(0.1)

    with_api(body, encryption_provider_config=str(path), encryption_provider_config_automatic_reload=True)


def test_values_belong_to_their_key_and_unseal_to_themselves(tmp_path: Path) -> None:
    one = transformer(tmp_path / "a", config((["secrets"], [{"aesgcm": keys("one")}, {"identity": {}}])))
    sealed = one.seal(SECRET_KEY, VALUE)
    assert one.open(SECRET_KEY, sealed) == VALUE
    assert one.seal(SECRET_KEY, VALUE) != sealed
    assert one.open(SECRET_KEY, VALUE) == VALUE, "written before there was a key"
    with pytest.raises(Unreadable, match="message authentication failed"):
        one.open("/registry/secrets/default/other", sealed)
    with pytest.raises(Unreadable, match="message authentication failed"):
        one.open(SECRET_KEY, sealed[:-1] + bytes([sealed[-1] ^ 1]))
    strict = transformer(tmp_path / "b", config((["secrets"], [{"aesgcm": keys("one")}])))
    with pytest.raises(Unreadable, match="no matching prefix found"):
        strict.open(SECRET_KEY, VALUE)
    off = transformer(tmp_path / "c", config((["configmaps"], [{"aesgcm": keys("one")}])))
    with pytest.raises(Unreadable, match="identity transformer tried to read encrypted data"):
        off.open(SECRET_KEY, sealed)


def test_which_resources_are_sealed(tmp_path: Path) -> None:
    def sealed(*resources: str) -> set[str]:
        made = transformer(tmp_path / "x", config((list(resources), [{"aesgcm": keys("one")}])))
        places = {
            "secrets": SECRET_KEY,
            "configmaps": "/registry/configmaps/default/c",
            "deployments.apps": "/registry/apps/deployments/default/d",
            "things.example.com": "/registry/example.com/things/default/t",
        }
        return {name for name, key in places.items() if made.seal(key, VALUE) != VALUE}

    everything = {"secrets", "configmaps", "deployments.apps", "things.example.com"}
    assert sealed("secrets") == {"secrets"}
    assert sealed("*.") == {"secrets", "configmaps"}
    assert sealed("*.apps", "secrets") == {"deployments.apps", "secrets"}
    assert sealed("*.*") == everything
    assert sealed("things.example.com") == {"things.example.com"}


@pytest.mark.parametrize(
    ("rules", "word"),
    [
        ([], "resources: Required value: at least one resources is required"),
        ([(["secrets"], [])], "at least one resources[0].providers is required"),
        ([([], [{"identity": {}}])], "at least one resources[0].resources is required"),
        ([(["secrets"], [{}])], "provider does not contain any of the expected providers"),
        ([(["secrets"], [{"identity": {}, "aesgcm": keys("a")}])], "more than one provider specified"),
        ([(["secrets"], [{"secretbox": keys("a")}])], "secretbox provider is not supported"),
        ([(["secrets"], [{"aesgcm": {"keys": []}}])], "at least one keys is required"),
        ([(["secrets"], [{"aesgcm": {"keys": [{"name": "a", "secret": "!"}]}}])], "secrets must be base64 encoded"),
        (
            [(["secrets"], [{"aesgcm": {"keys": [{"name": "a", "secret": "YWJj"}]}}])],
            "secret is not of the expected length, got 3, expected one of [16 24 32]",
        ),
        ([(["secrets"], [{"aesgcm": {"keys": [{"secret": "YWJj"}]}}])], "name is a mandatory field for a key"),
        ([(["Secrets"], [{"identity": {}}])], "should not contain capital letters"),
        ([(["*"], [{"identity": {}}])], "use '*.' to encrypt all the resources"),
        ([(["secrets", "*."], [{"identity": {}}])], "using overlapping resources"),
        ([(["secrets", "secrets"], [{"identity": {}}])], "cannot be specified multiple times"),
        ([(["secrets.*"], [{"identity": {}}])], "across groups is not supported"),
        ([(["events.events.k8s.io"], [{"identity": {}}])], "Use 'events' instead"),
        ([(["*.*"], [{"identity": {}}]), (["secrets"], [{"identity": {}}])], 'is masked by earlier rule "*.*"'),
        ([(["secrets"], [{"kms": {"name": "a", "endpoint": "unix:///a"}}])], "only KMS v2 is supported"),
        (
            [(["secrets"], [{"kms": {"apiVersion": "v2", "name": "a:b", "endpoint": "unix:///a"}}])],
            "must not contain ':'",
        ),
        (
            [(["secrets"], [{"kms": {"apiVersion": "v2", "name": "a", "endpoint": "http://a"}}])],
            "only unix is supported",
        ),
        (
            [(["secrets"], [{"kms": {"apiVersion": "v2", "name": "a", "endpoint": "unix:///a", "timeout": "-1s"}}])],
            "timeout should be a positive value",
        ),
    ],
)
def test_wrong_configurations_are_refused(rules: list[Any], word: str) -> None:
    with pytest.raises(ValueError) as caught:
        configuration.parse(config(*rules))
    assert word in str(caught.value)
    assert "YWJj" not in str(caught.value), "no secret is shown"


@pytest.mark.parametrize("text", ["", "[", "a: b", "kind: EncryptionConfiguration", "- 1"])
def test_what_is_no_configuration_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        configuration.parse(text)


class Vault:
    """A plug-in, and providers of API servers that use it, on a network in memory."""

    def __init__(self) -> None:
        self.host = Host(Clock(), SeededRng(1), RealDisk())
        self.network = MemoryNetwork(SeededRng(2))
        self.plugin = KmsPlugin(SeededRng(3))

    async def serve(self) -> None:
        await self.network.host("vault").serve("unix:/kms", self.plugin.methods())

    def provider(self) -> Kms:
        return Kms(KmsSettings("v", "/kms", 3.0), self.network.host("vault").dial("unix:/kms"), self.host)


class Clock:
    def __init__(self) -> None:
        self.time = 1_800_000_000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


def with_vault(body: Any) -> None:
    async def main() -> None:
        vault = Vault()
        await vault.serve()
        await body(vault)

    asyncio.run(main())


async def opened(provider: Kms, sealed: bytes) -> bytes:
    await provider.prepare(sealed)
    return provider.open(SECRET_KEY, sealed)


def test_one_seed_is_sealed_once_and_other_servers_open_it() -> None:
    async def body(vault: Vault) -> None:
        first, second = vault.provider(), vault.provider()
        with pytest.raises(Unsealable):
            first.seal(SECRET_KEY, VALUE)
        await first.refresh()
        sealed = [first.seal(SECRET_KEY, VALUE) for _ in range(3)]
        assert len(set(sealed)) == 3 and sealed[0].startswith(b"k8s:enc:kms:v2:v:")
        assert not any(PLAIN in each for each in sealed)
        assert first.open(SECRET_KEY, sealed[0]) == VALUE
        assert vault.plugin.calls == ["Status", "Encrypt"]
        with pytest.raises(Unreadable):
            second.open(SECRET_KEY, sealed[0])
        for each in sealed:
            assert await opened(second, each) == VALUE
        assert vault.plugin.calls.count("Decrypt") == 1
        with pytest.raises(Unreadable, match="message authentication failed"):
            second.open("/registry/secrets/default/other", sealed[0])

    with_vault(body)


def test_a_new_key_makes_a_new_seed_and_old_values_still_open() -> None:
    async def body(vault: Vault) -> None:
        provider = vault.provider()
        await provider.refresh()
        old, old_id = provider.seal(SECRET_KEY, VALUE), vault.plugin.key_id
        await provider.refresh()
        assert vault.plugin.calls.count("Encrypt") == 1, "the same key: the same seed"
        vault.plugin.rotate(b"two")
        await provider.refresh()
        assert provider.key_id == vault.plugin.key_id != old_id
        new = provider.seal(SECRET_KEY, VALUE)
        again = vault.provider()
        assert await opened(again, old) == await opened(again, new) == VALUE
        vault.plugin.forget(old_id)
        late = vault.provider()
        with pytest.raises(
            Unreadable, match=f"failed to decrypt DEK, error: Decrypt: INVALID_ARGUMENT: no key {old_id}"
        ):
            await opened(late, old)

    with_vault(body)


def test_a_vault_that_is_away_or_unwell() -> None:
    async def body(vault: Vault) -> None:
        provider = vault.provider()
        await provider.refresh()
        sealed = provider.seal(SECRET_KEY, VALUE)
        vault.plugin.away = True
        await provider.refresh()
        assert "the vault is sealed" in provider.problem
        assert provider.open(SECRET_KEY, provider.seal(SECRET_KEY, VALUE)) == VALUE, "for a while it goes on"
        assert isinstance(vault.host.clock, Clock)
        vault.host.clock.time += SEED_LIFE_S + 1
        with pytest.raises(Unsealable, match="expired"):
            provider.seal(SECRET_KEY, VALUE)
        assert provider.open(SECRET_KEY, sealed) == VALUE
        fresh = vault.provider()
        with pytest.raises(Unreadable, match="the vault is sealed"):
            await opened(fresh, sealed)
        vault.plugin.away, vault.plugin.healthz = False, "tired"
        await provider.refresh()
        assert provider.problem == "got unexpected healthz status: tired"
        vault.plugin.healthz = "ok"
        await provider.refresh()
        assert provider.problem == "" and provider.seal(SECRET_KEY, VALUE)
        assert await opened(fresh, sealed) == VALUE
        for garbage in (b"k8s:enc:kms:v2:v:", b"k8s:enc:kms:v2:v:\xff\xff", sealed[:40]):
            with pytest.raises(Unreadable):
                await opened(provider, garbage)

    with_vault(body)


def test_secrets_through_a_vault_on_a_unix_socket(with_api, tmp_path: Path) -> None:
    """The plug-in and its channel are real gRPC here."""
    from argosy.rpc import GrpcNetwork

    path, socket = tmp_path / "config.yaml", tmp_path / "kms.sock"
    kms = {"apiVersion": "v2", "name": "vault", "endpoint": f"unix://{socket}", "timeout": "3s"}
    path.write_text(config((["secrets"], [{"identity": {}}])))

    async def body(api) -> None:
        plugin, network = KmsPlugin(SeededRng(3)), GrpcNetwork()
        server = await network.serve(f"unix:{socket}", plugin.methods())
        try:
            encryption = api.server.parts.encryption
            encryption._network = network
            path.write_text(config((["secrets"], [{"kms": kms}, {"identity": {}}])))
            async with asyncio.timeout(20):
                while not encryption.kms or encryption.kms[0].problem:
                    await asyncio.sleep(0.05)
            assert encryption.is_healthy()
            secrets = api.client().resource("", "v1", "secrets")
            await secrets.create(secret())
            stored = await raw(api, SECRET_KEY)
            assert stored.startswith(b"k8s:enc:kms:v2:vault:") and base64.b64encode(PLAIN) not in stored
            read = await secrets.get("s", namespace="default")
            assert base64.b64decode(read["data"]["password"]) == PLAIN
            plugin.away = True
            await encryption.kms[0].refresh()
            assert not encryption.is_healthy()
        finally:
            await server.stop(0)

    with_api(body, encryption_provider_config=str(path), encryption_provider_config_automatic_reload=True)
