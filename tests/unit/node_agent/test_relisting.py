"""What happens in the runtime is noticed promptly, in whatever order events and lists arrive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from node_agent.relisting import Relister
from node_agent.runtime.runtime import Container, Sandbox, State
from tests.sim import virtual


class Scripted:
    """A runtime whose lists and events the test says."""

    def __init__(self) -> None:
        self.state: State | None = None
        self.told: asyncio.Queue[str] = asyncio.Queue()
        self.while_listing: list[str] = []
        """Events that come after the list was made and before it arrives."""

    async def list_sandboxes(self) -> list[Sandbox]:
        return []

    async def list_containers(self) -> list[Container]:
        found = self.found()
        for id_ in self.while_listing:
            self.told.put_nowait(id_)
            await asyncio.sleep(0.001)
        self.while_listing = []
        return found

    def found(self) -> list[Container]:
        return [] if self.state is None else [Container("c", "s", "main", "uid", 0, self.state, 0.0)]

    async def events(self) -> AsyncIterator[str]:
        while True:
            yield await self.told.get()


def test_a_container_that_ends_as_soon_as_it_starts_is_noticed_to_have_ended() -> None:
    async def main() -> None:
        runtime, seen = Scripted(), []
        host = virtual.virtual_host(asyncio.get_running_loop(), 1)
        relister = Relister(runtime, host, 600.0, lambda _uid: seen.append(runtime.state))  # type: ignore[arg-type]
        task = asyncio.get_running_loop().create_task(relister.run())
        await asyncio.sleep(1.5)
        # Start and exit arrive together; the first list still shows it running.
        runtime.state = State.RUNNING
        runtime.told.put_nowait("c")
        runtime.told.put_nowait("c")
        await asyncio.sleep(0.02)
        assert seen == [State.RUNNING]
        runtime.state = State.EXITED
        await asyncio.sleep(2.0)
        assert seen == [State.RUNNING, State.EXITED]
        task.cancel()

    virtual.run(main())


def test_an_end_told_while_the_list_is_on_its_way_is_not_lost() -> None:
    async def main() -> None:
        runtime, seen = Scripted(), []
        host = virtual.virtual_host(asyncio.get_running_loop(), 1)
        relister = Relister(runtime, host, 600.0, lambda _uid: seen.append(runtime.state))  # type: ignore[arg-type]
        task = asyncio.get_running_loop().create_task(relister.run())
        await asyncio.sleep(1.5)
        runtime.state = State.RUNNING
        runtime.while_listing = ["c"]
        runtime.told.put_nowait("c")
        await asyncio.sleep(0.02)
        assert seen == [State.RUNNING]
        runtime.state = State.EXITED
        await asyncio.sleep(2.0)
        assert seen == [State.RUNNING, State.EXITED]
        # Nothing is awaited for ever.
        runtime.told.put_nowait("never")
        await asyncio.sleep(5.0)
        assert not relister._awaited
        task.cancel()

    virtual.run(main())


def test_a_start_alone_is_seen_when_it_runs() -> None:
    async def main() -> None:
        runtime, seen = Scripted(), []
        host = virtual.virtual_host(asyncio.get_running_loop(), 1)
        relister = Relister(runtime, host, 600.0, lambda _uid: seen.append(runtime.state))  # type: ignore[arg-type]
        task = asyncio.get_running_loop().create_task(relister.run())
        await asyncio.sleep(1.5)
        runtime.told.put_nowait("c")
        await asyncio.sleep(0.1)
        assert seen == []
        runtime.state = State.RUNNING
        await asyncio.sleep(1.0)
        assert seen == [State.RUNNING]
        runtime.told.put_nowait("c")
        await asyncio.sleep(0.1)
        runtime.state = State.EXITED
        await asyncio.sleep(1.0)
        assert seen == [State.RUNNING, State.EXITED]
        task.cancel()

    virtual.run(main())
