"""Seals what goes into the store and opens what comes out of it, as the configuration file says; follows the file.

The store's client calls `seal`, `open` and, before it opens, `prepare`, which asks a KMS plug-in for what is missing.
`run` follows the file and the plug-ins. Without a file nothing is sealed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from argosy import logs
from argosy.host import Host
from argosy.rpc import Network
from control_plane.apiserver.storage.encryption import configuration
from control_plane.apiserver.storage.encryption.configuration import KmsSettings, ProviderSettings, Rule
from control_plane.apiserver.storage.encryption.kms import Kms
from control_plane.apiserver.storage.encryption.providers import (
    AesCbc,
    AesGcm,
    Identity,
    Provider,
    Unreadable,
)

log = logs.get("apiserver.encryption")

ROOT: Final = "/registry/"
LOOK_S: Final = 1.0
"""How often the file is looked at."""
START_S: Final = 10.0
"""How long the start waits for KMS plug-ins to give their first key."""
PLAIN: Final[tuple[Provider, ...]] = (Identity(),)


class Transformer:
    """`core`: the resources of the core group, whose store keys carry no group."""

    def __init__(
        self,
        host: Host,
        network: Network | None = None,
        path: str = "",
        core: Sequence[str] = (),
        reload: bool = False,
    ) -> None:
        self._host, self._network, self._path, self._reload = host, network, path, reload
        self._core = frozenset(core)
        self._rules: tuple[tuple[Rule, tuple[Provider, ...]], ...] = ()
        self._by_resource: dict[tuple[str, str], tuple[Provider, ...]] = {}
        self._current: dict[str, bytes] = {}
        """By key of a covered resource: what its value is sealed with, where that is known and was current then."""
        self._text = ""
        self._due: dict[str, float] = {}
        """When each plug-in is to be asked for its status, by provider name."""

    @property
    def kms(self) -> list[Kms]:
        return [each for _, providers in self._rules for each in providers if isinstance(each, Kms)]

    def is_healthy(self) -> bool:
        return not any(each.problem for each in self.kms)

    # Values

    def seal(self, key: str, value: bytes) -> bytes:
        """Raises Unsealable."""
        first = self._of(key)[0]
        sealed = first.seal(key, value)
        if self._rules:
            self._current[key] = first.marker
        return sealed

    def is_stale(self, key: str) -> bool:
        """Whether a value would be sealed otherwise now than it is in the store, as far as is known."""
        providers = self._of(key)
        return providers is not PLAIN and self._current.get(key) != providers[0].marker

    def forget(self, key: str) -> None:
        self._current.pop(key, None)

    def open(self, key: str, value: bytes) -> bytes:
        """Raises Unreadable."""
        providers = self._of(key)
        if providers is PLAIN:
            return PLAIN[0].open(key, value)
        if providers[0].is_current(value):
            self._current[key] = providers[0].marker
        else:
            self._current.pop(key, None)
        why = "no matching prefix found"
        for provider in providers:
            if provider.prefix and value.startswith(provider.prefix):
                try:
                    return provider.open(key, value)
                except Unreadable as error:
                    why = str(error)
            elif not provider.prefix and not value.startswith(b"k8s:enc:"):
                return value
        raise Unreadable(why)

    async def prepare(self, key: str, value: bytes) -> None:
        for provider in self._of(key):
            if provider.prefix and value.startswith(provider.prefix):
                await provider.prepare(value)

    def _of(self, key: str) -> tuple[Provider, ...]:
        if not self._rules:
            return PLAIN
        first, _, rest = key.removeprefix(ROOT).partition("/")
        resource = ("", first) if first in self._core else (first, rest.partition("/")[0])
        found = self._by_resource.get(resource)
        if found is None:
            covering = (providers for rule, providers in self._rules if rule.covers(*resource))
            found = self._by_resource[resource] = next(covering, PLAIN)
        return found

    # The file

    def load(self) -> bool:
        """Take the file's rules; false when it has not changed. Raises OSError, ValueError."""
        if not self._path:
            return False
        with open(self._path, encoding="utf-8") as file:
            text = file.read()
        if text == self._text:
            return False
        rules = configuration.parse(text)
        # A plug-in that goes on keeps its seeds: a new one would seal a new seed for nothing.
        held = {(each.name, each.settings): each for each in self.kms}
        made = [(rule, tuple(self._provider(each, held) for each in rule.providers)) for rule in rules]
        self._rules, self._text = tuple(made), text
        self._by_resource.clear()
        self._due = {name: due for name, due in self._due.items() if any(each.name == name for each in self.kms)}
        return True

    def _provider(self, settings: ProviderSettings, held: dict[tuple[str, KmsSettings], Kms]) -> Provider:
        if settings.kms is not None:
            known = held.get((settings.kms.name, settings.kms))
            if known is not None:
                return known
            assert self._network is not None
            channel = self._network.dial(f"unix:{settings.kms.path}")
            return Kms(settings.kms, channel, self._host)
        if settings.kind == "aesgcm":
            return AesGcm(settings.keys, self._host.rng)
        if settings.kind == "aescbc":
            return AesCbc(settings.keys, self._host.rng)
        return Identity()

    async def start(self) -> None:
        """Until every plug-in has given its key, or for a while: what is not sealed by it goes on without."""
        waiting = self.kms
        deadline = self._host.clock.monotonic() + START_S
        while waiting:
            await self._ask(waiting)
            waiting = [each for each in waiting if each.problem]
            if not waiting or self._host.clock.monotonic() > deadline:
                return
            await asyncio.sleep(LOOK_S)

    async def run(self, changed: Callable[[], None]) -> None:
        """Follow file and plug-ins until cancelled; `changed` is called when more may be readable than before."""
        while True:
            await asyncio.sleep(LOOK_S)
            if self._reload and self._reloaded():
                await self._ask(self.kms)
                changed()
            now = self._host.clock.monotonic()
            due = [each for each in self.kms if self._due.get(each.name, 0.0) <= now]
            away = [each for each in due if each.problem]
            await self._ask(due)
            if any(not each.problem for each in away):
                changed()

    async def _ask(self, plugins: Sequence[Kms]) -> None:
        for each in plugins:
            self._due[each.name] = self._host.clock.monotonic() + await each.refresh()

    def _reloaded(self) -> bool:
        """A file that is wrong is told of once, and the rules from before stay."""
        text = self._text
        try:
            if not self.load():
                return False
        except (OSError, ValueError) as error:
            if str(error) != self._complaint:
                log.error("the encryption configuration is not taken", file=self._path, error=error)
            self._complaint = str(error)
            return False
        self._complaint = ""
        log.info("encryption configuration taken", file=self._path, first=not text)
        return True

    _complaint = ""
