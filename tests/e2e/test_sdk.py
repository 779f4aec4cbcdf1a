"""The SDK on a real cluster: its examples as docs/sdk.md shows them, logs, commands, and watches through a kill."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from argosy.client import Client
from argosy.objects.status import ApiError
from argosy.testing import Cluster

EXAMPLES = Path(__file__).resolve().parents[2] / "deploy" / "examples" / "sdk"
NAMESPACE = "sdk"


@pytest.fixture(scope="module", autouse=True)
def namespace(cluster: Cluster) -> Iterator[None]:
    cluster.kubectl("create", "namespace", NAMESPACE)
    yield
    cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


@contextlib.contextmanager
def example(cluster: Cluster, tmp_path: Path, name: str, *arguments: str) -> Iterator[Path]:
    """One of the examples while it runs; gives the file of what it prints."""
    printed = tmp_path / "printed"
    with printed.open("w") as out:
        running = subprocess.Popen(
            [sys.executable, str(EXAMPLES / name), *arguments],
            env={**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}, stdout=out, stderr=out,
        )  # fmt: skip
    try:
        yield printed
        assert running.poll() is None, printed.read_text()
    finally:
        running.kill()
        running.wait()


def test_the_operator_keeps_websites(cluster: Cluster, tmp_path: Path) -> None:
    space = ("-n", NAMESPACE)
    cluster.kubectl("apply", "-f", str(EXAMPLES / "websites.yaml"))
    cluster.wait("crd/websites.example.com", "condition=Established")
    try:
        with example(cluster, tmp_path, "website_operator.py") as printed:
            cluster.kubectl("apply", "-f", str(EXAMPLES / "hello.yaml"), *space)
            cluster.wait("website/hello", "jsonpath={.status.ready}=2", *space)
            page = cluster.kubectl("exec", "deployment/hello", *space, "--", "wget", "-qO-", "http://127.0.0.1:8080")
            assert page == "hello from the operator\n"
            cluster.kubectl("patch", "website", "hello", *space, "--type=merge", "-p", '{"spec":{"replicas":1}}')
            cluster.wait("website/hello", "jsonpath={.status.ready}=1", *space)
            cluster.kubectl("scale", "deployment/hello", "--replicas=3", *space)
            cluster.wait("deployment/hello", "jsonpath={.spec.replicas}=1", *space)
            cluster.kubectl("delete", "website", "hello", *space)
            cluster.wait("deployment/hello", "delete", *space)
            assert printed.read_text() == ""
    finally:
        cluster.kubectl("delete", "-f", str(EXAMPLES / "websites.yaml"))


def test_the_watch_survives_the_api_server(cluster: Cluster, tmp_path: Path) -> None:
    space = ("-n", NAMESPACE)
    with example(cluster, tmp_path, "watching.py", NAMESPACE) as printed:

        def sees(*lines: str) -> None:
            cluster.eventually(lambda: tuple(printed.read_text().splitlines()), equals=lines, what="what is printed")

        sees("ADDED kube-root-ca.crt")
        for round_ in ("one", "two"):
            cluster.kill("apiserver-1")
            cluster.eventually(lambda: "ok" in cluster.kubectl("get", "--raw", "/readyz"))
            cluster.kubectl("create", "configmap", round_, *space)
        sees("ADDED kube-root-ca.crt", "ADDED one", "ADDED two")
        cluster.kubectl("delete", "configmap", "one", *space)
        sees("ADDED kube-root-ca.crt", "ADDED one", "ADDED two", "DELETED one")


def test_the_chaos_example(cluster: Cluster) -> None:
    found = importlib.util.spec_from_file_location("chaos_example", EXAMPLES / "test_chaos.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    (test,) = (value for name, value in vars(module).items() if name.startswith("test_"))
    test(cluster)
    assert not cluster.chaos.active()


POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "talker", "namespace": NAMESPACE},
    "spec": {
        "terminationGracePeriodSeconds": 0,
        "containers": [
            {
                "name": "talker",
                "image": "busybox:1.35",
                "command": [
                    "sh",
                    "-c",
                    "echo one; echo two >&2; while [ ! -e /tmp/go ]; do sleep 0.1; done; echo end",
                ],
            }
        ],
        "restartPolicy": "Never",
    },
}


def test_logs_and_commands(cluster: Cluster) -> None:
    async def body(client: Client) -> None:
        pods = client.pods
        await pods.apply(POD)
        await pods.wait("talker", namespace=NAMESPACE, condition="Ready")
        lines = pods.logs("talker", namespace=NAMESPACE, follow=True)
        # One is of stdout, the other of stderr: two pipes, which nobody reads in one order.
        assert sorted([await anext(lines) for _ in range(2)]) == ["one", "two"]

        done = await pods.exec("talker", ["sh", "-c", "cat; echo why >&2; exit 7"], namespace=NAMESPACE, stdin=b"in")
        assert (done.stdout, done.stderr, done.exit_code) == (b"in", b"why\n", 7)
        big = bytes(range(256)) * 8192
        done = await pods.exec("talker", ["cat"], namespace=NAMESPACE, stdin=big)
        assert (done.stdout == big, done.exit_code) == (True, 0)
        async with pods.open_exec("talker", ["sh"], namespace=NAMESPACE, stdin=True, tty=True) as shell:
            await shell.resize(columns=77, rows=33)
            await shell.write(b"stty size; touch /tmp/go; exit 5\n")
            said = b"".join([data async for _, data in shell])
            assert (b"33 77" in said, shell.exit_code) == (True, 5)

        assert [line async for line in lines] == ["end"], "the log was followed to the container's end"
        ended = await pods.wait(
            "talker", namespace=NAMESPACE, until=lambda pod: pod["status"]["phase"] == "Succeeded"
        )
        for wrong, code in (
            (pods.exec("talker", ["true"], namespace=NAMESPACE), (400, 500)),
            (pods.exec("no", ["x"]), (404,)),
        ):
            with pytest.raises(ApiError) as refused:
                await wrong
            assert refused.value.code in code
        await pods.delete("talker", namespace=NAMESPACE)
        gone = await pods.wait("talker", namespace=NAMESPACE, deleted=True)
        assert not gone or gone["metadata"]["uid"] == ended["metadata"]["uid"]

    run(cluster, body)


def test_handles_apply_and_a_followed_watch(cluster: Cluster) -> None:
    async def body(client: Client) -> None:
        assert (await client.find("deploy")).group == "apps"
        assert (await client.find("nodes.metrics.k8s.io")).version == "v1beta1"
        maps = client.kind("ConfigMap")
        seen: list[tuple[str, str]] = []

        async def follow() -> None:
            async for event in maps.follow(namespace=NAMESPACE, labels="of=client", bookmarks=True):
                seen.append((event.type.name, (event.object.get("data") or {}).get("a", "")))

        async def sees(*expected: tuple[str, str]) -> None:
            async with asyncio.timeout(30):
                while [item for item in seen if item[0] != "BOOKMARK"] != list(expected):
                    await asyncio.sleep(0.05)

        following = asyncio.create_task(follow())
        wanted = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "1"}}
        wanted["metadata"] = {"name": "applied", "namespace": NAMESPACE, "labels": {"of": "client"}}
        await maps.apply(wanted, field_manager="first")
        with pytest.raises(ApiError) as conflict:
            await maps.apply({**wanted, "data": {"a": "2"}}, field_manager="second")
        assert (conflict.value.code, conflict.value.reason) == (409, "Conflict")
        await sees(("ADDED", "1"))
        cluster.kill("apiserver-1")
        # Reads are patient; who writes looks first whether there is a server again.
        assert (await maps.get("applied", namespace=NAMESPACE))["data"] == {"a": "1"}
        await maps.apply({**wanted, "data": {"a": "2"}}, field_manager="second", force=True)
        await sees(("ADDED", "1"), ("MODIFIED", "2"))
        await maps.delete("applied", namespace=NAMESPACE)
        await sees(("ADDED", "1"), ("MODIFIED", "2"), ("DELETED", "2"))
        following.cancel()

    run(cluster, body)


def run(cluster: Cluster, body) -> None:
    async def main() -> None:
        async with Client.from_kubeconfig(str(cluster.kubeconfig), patience_s=60) as client:
            await body(client)

    asyncio.run(main())
