"""What the launcher's tests with real namespaces share: a layout of their own, removed whatever happens."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator

import pytest

from argosy.host import RealRng
from deploy import children, cleanup, cluster
from deploy.chaos.site import Site
from deploy.cleanup import wait_until
from deploy.cluster import ClusterConfig, NodeConfig
from deploy.layout import Layout


@pytest.fixture
def layout() -> Iterator[Layout]:
    """Names that no other cluster has; everything below them is gone after the test. Needs root."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    found = Layout("unit-" + RealRng().token(3).hex())
    os.makedirs(found.state, mode=0o700)
    os.makedirs(found.run, mode=0o700)
    try:
        yield found
    finally:
        cleanup.remove(found)
        shutil.rmtree(found.logs, ignore_errors=True)


@pytest.fixture
def config(layout: Layout) -> ClusterConfig:
    """Three store members, a control plane and a node, as far as files say."""
    result = ClusterConfig(layout.name, nodes=(NodeConfig("node-1", 1, 1, 1 << 30),))
    cluster.save(result, layout)
    return result


@pytest.fixture
def process(layout: Layout, config: ClusterConfig) -> Iterator[subprocess.Popen[bytes]]:
    """A shell with a child, known as etcd-1."""
    with subprocess.Popen(["sh", "-c", "sleep 1000 & wait"], start_new_session=True) as popen:
        with open(layout.children_file, "w", encoding="utf-8") as file:
            json.dump({"etcd-1": {"pid": popen.pid, "ticks": children.start_ticks(popen.pid)}}, file)
        assert wait_until(lambda: len(Site.of(layout, config).all_processes("etcd-1")) == 2, 5)
        yield popen
        os.killpg(popen.pid, signal.SIGKILL)
