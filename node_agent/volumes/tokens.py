"""Service account tokens of running pods: asked for once, renewed when 80 % of their life is over."""

from __future__ import annotations

from dataclasses import dataclass

from argosy.host import Clock
from argosy.objects import meta
from argosy.objects.types import JsonObject
from node_agent.machine import ObjectSource

RENEW_AT = 0.8
MAX_AGE_S = 24 * 3600.0
RETRY_S = 30.0


@dataclass(frozen=True)
class _Token:
    text: str
    renew_at: float
    expires_at: float


class Tokens:
    def __init__(self, objects: ObjectSource, clock: Clock) -> None:
        self._objects = objects
        self._clock = clock
        self._tokens: dict[tuple[str, str, int], _Token] = {}

    async def get(self, pod: JsonObject, audience: str, expiration_s: int) -> str:
        """A token that is good for a while. Raises ApiError when there is none."""
        key = (meta.uid(pod), audience, expiration_s)
        now = self._clock.now()
        held = self._tokens.get(key)
        if held is not None and now < held.renew_at:
            return held.text
        try:
            text, expires_at = await self._objects.token(pod, audience, expiration_s)
        except Exception:
            if held is not None and now < held.expires_at - RETRY_S:
                self._tokens[key] = _Token(held.text, now + RETRY_S, held.expires_at)
                return held.text
            raise
        life_s = max(0.0, expires_at - now)
        self._tokens[key] = _Token(text, now + min(life_s * RENEW_AT, MAX_AGE_S), expires_at)
        return text

    def renew_in_s(self, pod_uid: str) -> float | None:
        """Until the first of a pod's tokens must be renewed."""
        times = [token.renew_at for key, token in self._tokens.items() if key[0] == pod_uid]
        return max(1.0, min(times) - self._clock.now()) if times else None

    def forget(self, pod_uid: str) -> None:
        for key in [key for key in self._tokens if key[0] == pod_uid]:
            del self._tokens[key]
