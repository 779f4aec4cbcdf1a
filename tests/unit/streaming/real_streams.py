"""Streams to real containers: containerd, the node agent and its API, and kubectl, inside one node's namespaces.

Run as `… python -m tests.unit.streaming.real_streams FOLDER CGROUP` under unshare; `test_streaming_containerd.py`
starts it.
"""

import asyncio
import ctypes
import os
import sys
from pathlib import Path

import orjson

from argosy import logs
from argosy.streaming.remotecommand import CLOSE, STDIN, STDOUT, Options, exit_code
from control_plane.apiserver.streaming import node as nodes
from node_agent.server import KubeletServer, ServerConfig
from node_agent.server_streams import CriStreams
from tests.unit.node_agent.node_world import NODE, make_pod
from tests.unit.node_agent.real_node import NODE_IP, RealWorld, become_node, play
from tests.unit.streaming.whole_path import Edge, Kubectl, Pki, clients, edge

SCRIPT = "echo one; echo two >&2; mkdir -p /w; echo hello > /w/index.html; exec httpd -f -p 8080 -h /w"


async def streams(world: RealWorld) -> None:
    container = {"name": "main", "image": "busybox:1.35", "command": ["sh", "-c", SCRIPT]}
    reader = {"name": "reader", "image": "busybox:1.35", "command": ["cat"], "stdin": True}
    world.api.put("pods", make_pod(containers=[container, reader]))
    await world.running("default/web")
    assert world.agent is not None
    pki = Pki(Path(world.folder))
    files = pki.issue(f"system:node:{NODE}", "system:nodes", NODE_IP)
    config = ServerConfig(f"{NODE_IP}:10250", files[0], files[1], pki.ca)
    server = KubeletServer(config, world.host, world.cri, world.agent.pods, CriStreams(world.cri), NODE)
    task = asyncio.ensure_future(server.run())
    pod = world.api.one("pods", "default/web")
    node = world.api.one("nodes", NODE)
    try:
        async with edge(pki, pod, node) as path:
            await by_session(path, pod, node)
            for kubectl in dict.fromkeys([*clients()[:1], *clients()[-1:]]):
                await by_kubectl(Kubectl(path, kubectl, Path(world.folder)))
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def by_session(path: Edge, pod: dict, node: dict) -> None:
    options = Options("main", ("sh", "-c", "cat; exit 5"), stdin=True, stdout=True, stderr=True)
    running = await nodes.open_exec(path.dialer, pod, node, options)
    payload = os.urandom(1 << 20)

    async def feed() -> None:
        for start in range(0, len(payload), 40_000):
            await running.send(STDIN, payload[start : start + 40_000])
        await running.send(CLOSE, bytes((STDIN,)))

    feeding = asyncio.ensure_future(feed())
    frames = [frame async for frame in running.output()]
    await feeding
    await running.close()
    assert b"".join(data for channel, data in frames if channel == STDOUT) == payload
    assert exit_code(orjson.loads(frames[-1][1])) == 5, frames[-1]
    log = b"".join([chunk async for chunk in nodes.open_log(path.dialer, pod, node, {"container": ["main"]})])
    assert sorted(log.splitlines()) == [b"one", b"two"]


async def by_kubectl(run: Kubectl) -> None:
    code, out, err = await run("exec", "web", "-c", "main", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (code, out) == (3, b"out\n") and "err\n" in err, (code, out, err)
    payload = os.urandom(300_000)
    code, out, err = await run("exec", "-i", "web", "-c", "main", "--", "sh", "-c", "cat > /f; cat /f", text=payload)
    assert (code, out == payload) == (0, True), err
    code, out, err = await run("exec", "-it", "web", "-c", "main", "--", "sh", "-c", "echo tty")
    assert code == 0 and b"tty" in out, err
    code, out, err = await run("exec", "web", "-c", "main", "--", "nothing-there")
    assert code != 0 and "nothing-there" in err
    assert (await run("logs", "web", "-c", "main", "--tail=1"))[0] == 0
    attached = await run.start("attach", "-i", "web", "-c", "reader")
    assert attached.stdin is not None and attached.stdout is not None
    attached.stdin.write(b"echoed\n")
    await attached.stdin.drain()
    async with asyncio.timeout(30):
        assert await attached.stdout.readline() == b"echoed\n"
    attached.kill()
    await attached.wait()
    await forward(run)


async def forward(run: Kubectl) -> None:
    process = await run.start("port-forward", "pod/web", "18080:8080", "--address", "127.0.0.1")
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            assert b"Forwarding from" in await process.stdout.readline()
            for _ in range(3):
                reader, writer = await asyncio.open_connection("127.0.0.1", 18080)
                writer.write(b"GET / HTTP/1.0\r\n\r\n")
                assert (await reader.read(-1)).endswith(b"hello\n")
                writer.close()
    finally:
        process.terminate()
        await process.wait()


def main() -> None:
    folder, cgroup = sys.argv[1:3]
    ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
    become_node()
    logs.setup("info", f"{folder}/agent.log")
    asyncio.run(play(streams, cgroup, folder))


if __name__ == "__main__":
    main()
