"""Asks Redis how long a list is."""

from __future__ import annotations

from typing import Protocol

from control_plane.autoscaler.events.triggers import RedisTrigger

TIMEOUT_S = 5.0


class QueueError(Exception):
    """The queue's length cannot be had; the message says why."""


class Queues(Protocol):
    async def length(self, trigger: RedisTrigger, host: str, port: int, password: str) -> int:
        """Raises QueueError."""


class RedisQueues:
    """By the library redis; a connection for each question, as questions are rare."""

    async def length(self, trigger: RedisTrigger, host: str, port: int, password: str) -> int:
        from redis.asyncio import Redis
        from redis.exceptions import RedisError

        client = Redis(
            host=host,
            port=port,
            db=trigger.database,
            username=trigger.username or None,
            password=password or None,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
        )
        try:
            found: object = await client.llen(trigger.list_name)
        except (RedisError, OSError) as error:
            raise QueueError(f"{trigger.host}:{trigger.port}: {error}") from None
        finally:
            await client.aclose()
        if not isinstance(found, int) or found < 0:
            raise QueueError(f"{trigger.host}:{trigger.port}: the length {found!r} makes no sense")
        return found
