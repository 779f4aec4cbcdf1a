"""One holder at a time, nothing left behind; and ports that no two clusters share."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from deploy import cluster, launch, locks
from deploy.cluster import ClusterConfig
from deploy.layout import Layout
from deploy.preflight import NotReady


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        for _ in range(50):
            with locks.held(path):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 200 and max(most) == 1
    assert not list(tmp_path.iterdir())


def test_who_does_not_wait_is_told(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    with locks.held(path), pytest.raises(BlockingIOError), locks.held(path, wait=False):
        raise AssertionError("held twice")
    with locks.held(path, wait=False):
        pass


def test_a_port_is_its_clusters_though_nothing_listens_yet(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Layout(layout.name + "-b")
    monkeypatch.setattr(cluster, "clusters", lambda: [layout.name, other.name])
    monkeypatch.setattr(launch.preflight, "port_is_free", lambda port: True)
    saved = {}
    monkeypatch.setattr(cluster, "save", lambda config, where: saved.update({where.name: config}))
    monkeypatch.setattr(cluster, "load", lambda where: saved.get(where.name))
    assert launch.reserve_port(ClusterConfig(layout.name), layout, 0, 26443).port == 26443
    assert launch.reserve_port(ClusterConfig(other.name), other, 0, 26443).port == 26444
    with pytest.raises(NotReady, match="another cluster's"):
        launch.reserve_port(ClusterConfig(other.name), other, 26443, 26443)
