"""Debian's etcdctl against our members."""

import shutil
import subprocess
import threading
from collections.abc import Iterator

import pytest

from tests.conformance.etcd.backends import Backend, backend

pytestmark = pytest.mark.skipif(shutil.which("etcdctl") is None, reason="Debian's etcd-client is not installed")


@pytest.fixture(scope="module")
def store() -> Iterator[Backend]:
    with backend("three") as running:
        yield running


def ctl(store: Backend, *arguments: str, stdin: str = "") -> str:
    command = ["etcdctl", f"--endpoints={','.join(store.addresses)}", *arguments]
    environment = {"ETCDCTL_API": "3", "PATH": "/usr/bin:/bin"}
    result = subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=30, env=environment, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_put_get_del(store: Backend) -> None:
    assert ctl(store, "put", "/a/1", "one") == "OK\n"
    ctl(store, "put", "/a/2", "two")
    assert ctl(store, "get", "--prefix", "/a/") == "/a/1\none\n/a/2\ntwo\n"
    assert ctl(store, "get", "--prefix", "--order=DESCEND", "--limit=1", "--print-value-only", "/a/") == "two\n"
    assert ctl(store, "get", "--prefix", "--keys-only", "/a/").split() == ["/a/1", "/a/2"]
    assert ctl(store, "del", "--prev-kv", "/a/1") == "1\n/a/1\none\n"
    assert ctl(store, "get", "--consistency=s", "/a/1") == ""


def test_txn(store: Backend) -> None:
    ctl(store, "put", "/t", "1")
    script = 'value("/t") = "1"\n\nput /t 2\n\nget /t\n\n'
    assert ctl(store, "txn", stdin=script).split() == ["SUCCESS", "OK"]
    assert ctl(store, "txn", stdin=script).split() == ["FAILURE", "/t", "2"]


def test_watch(store: Backend) -> None:
    first = int(ctl(store, "put", "/w", "1", "--write-out=fields").split('"Revision" : ')[1].split()[0])
    ctl(store, "put", "/w", "2")
    ctl(store, "del", "/w")
    command = ["etcdctl", f"--endpoints={store.addresses[0]}", "watch", "/w", f"--rev={first}", "--prev-kv"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={"ETCDCTL_API": "3"})
    watchdog = threading.Timer(20, process.kill)
    watchdog.start()
    kinds: list[str] = []
    try:
        assert process.stdout is not None
        while len(kinds) < 3 and (line := process.stdout.readline()):
            kinds += [line.strip()] if line.strip() in ("PUT", "DELETE") else []
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
    assert kinds == ["PUT", "PUT", "DELETE"]


def test_lease(store: Backend) -> None:
    lease = ctl(store, "lease", "grant", "300").split()[1]
    ctl(store, "put", "/l", "v", f"--lease={lease}")
    assert "attached keys([/l])" in ctl(store, "lease", "timetolive", lease, "--keys")
    assert lease in ctl(store, "lease", "list")
    assert "keepalived" in ctl(store, "lease", "keep-alive", "--once", lease)
    assert "revoked" in ctl(store, "lease", "revoke", lease)
    assert ctl(store, "get", "/l") == ""


def test_compaction_status_members_hash(store: Backend) -> None:
    revision = ctl(store, "put", "/c", "1", "--write-out=fields").split('"Revision" : ')[1].split()[0]
    assert ctl(store, "compaction", revision, "--physical") == f"compacted revision {revision}\n"
    status = ctl(store, "endpoint", "status").strip().splitlines()
    assert len(status) == 3 and sum(", true, " in line for line in status) == 1
    assert ctl(store, "endpoint", "hashkv").count("\n") == 3
    members = ctl(store, "member", "list").strip().splitlines()
    assert [line.split(", ")[1:3] for line in members] == [["started", f"m{at}"] for at in range(3)]
    assert "no such alarm" not in ctl(store, "alarm", "list")
    assert ctl(store, "defrag").count("Finished") == 3


def test_locks_are_transactions_and_work(store: Backend) -> None:
    """`etcdctl lock` and `elect` use leases, transactions and watches, not the lock service."""
    result = ctl(store, "lock", "/lock", "echo", "held")
    assert "held" in result


def test_what_is_not_supported_says_so(store: Backend) -> None:
    command = ["etcdctl", f"--endpoints={store.addresses[0]}", "user", "list"]
    environment = {"ETCDCTL_API": "3"}
    result = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment, check=False)
    assert result.returncode != 0 and "UserList is not supported" in result.stderr
