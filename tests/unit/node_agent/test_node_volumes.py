"""Volumes on a real file system: atomic updates, picked keys and modes, paths that try to leave, tokens in time."""

import asyncio
import base64
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from argosy.objects import status
from argosy.objects.types import JsonObject
from node_agent import mounts
from node_agent.environment import Surroundings
from node_agent.seams import VolumeError
from node_agent.volumes import atomic
from node_agent.volumes.node_volumes import NodeVolumes
from node_agent.volumes.source import Entry
from node_agent.volumes.subpath import SubPathError, open_inside
from tests.unit.node_agent.node_world import make_pod

AROUND = Surroundings(("10.244.1.2",), ("10.77.3.1",), {"cpu": "4"}, ())
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a tmpfs")


class Clock:
    def __init__(self) -> None:
        self.time = 1_800_000_000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


class Objects:
    def __init__(self) -> None:
        self.config_maps: dict[str, JsonObject] = {}
        self.secrets: dict[str, JsonObject] = {}
        self.claims: dict[str, JsonObject] = {}
        self.volumes: dict[str, JsonObject] = {}
        self.tokens_given = 0
        self.refuse: status.ApiError | None = None
        self.clock = Clock()

    async def config_map(self, namespace: str, name: str) -> JsonObject | None:
        if self.refuse is not None:
            raise self.refuse
        return self.config_maps.get(name)

    async def secret(self, namespace: str, name: str) -> JsonObject | None:
        return self.secrets.get(name)

    async def claim(self, namespace: str, name: str) -> JsonObject | None:
        return self.claims.get(name)

    async def volume(self, name: str) -> JsonObject | None:
        return self.volumes.get(name)

    def node_labels(self) -> Mapping[str, str]:
        return {"kubernetes.io/hostname": "node-1"}

    async def token(self, pod: JsonObject, audience: str, expiration_s: int) -> tuple[str, float]:
        if self.refuse is not None:
            raise self.refuse
        self.tokens_given += 1
        return f"token-{audience}-{self.tokens_given}", self.clock.time + expiration_s


class Node:
    def __init__(self, folder: Path) -> None:
        self.objects = Objects()
        self.root = str(folder)
        self.volumes = NodeVolumes(self.root, self.objects, self.objects.clock)

    def set_up(self, pod: JsonObject) -> None:
        asyncio.run(self.volumes.set_up(pod, AROUND))

    def path(self, pod: JsonObject, mount: JsonObject | None = None) -> Path:
        container = {"name": "main", "volumeMounts": [{"name": "v", "mountPath": "/v", **(mount or {})}]}
        return Path(self.volumes.mounts(pod, container, {"WHERE": "sub"})[0].host_path)


def with_volume(source: JsonObject, **spec: Any) -> JsonObject:
    pod = make_pod(volumes=[{"name": "v", **source}], **spec)
    pod["metadata"]["uid"] = "uid-1"
    return pod


def refused(node: Node, source: JsonObject) -> VolumeError:
    with pytest.raises(VolumeError) as caught:
        node.set_up(with_volume(source))
    return caught.value


def test_an_update_is_seen_whole(tmp_path: Path) -> None:
    volume = str(tmp_path / "v")
    assert atomic.write(volume, {"a": Entry(b"1", 0o644), "d/b": Entry(b"2", 0o400)}, None, 0.0)
    first = os.readlink(f"{volume}/..data")
    assert Path(volume, "d/b").read_bytes() == b"2" and os.stat(f"{volume}/d/b").st_mode & 0o777 == 0o400
    assert not atomic.write(volume, {"a": Entry(b"1", 0o644), "d/b": Entry(b"2", 0o400)}, None, 9.0)
    assert os.readlink(f"{volume}/..data") == first, "unchanged content is left alone"
    assert atomic.write(volume, {"a": Entry(b"3", 0o644), "c": Entry(b"4", 0o644)}, None, 0.0)
    assert Path(volume, "a").read_bytes() == b"3"
    assert sorted(os.listdir(volume)) == sorted(["..data", os.readlink(f"{volume}/..data"), "a", "c"])
    assert atomic.write(volume, {"a": Entry(b"3", 0o600), "c": Entry(b"4", 0o644)}, None, 1.0), "a mode is content"


def test_config_map_keys_items_and_modes(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.objects.config_maps["cfg"] = {"data": {"a": "1", "b": "2"}, "binaryData": {"c": "AAE="}}
    pod = with_volume({"configMap": {"name": "cfg", "items": [{"key": "a", "path": "x/y", "mode": 0o440}]}})
    node.set_up(pod)
    assert (node.path(pod) / "x/y").read_text() == "1"
    assert os.stat(node.path(pod) / "x/y").st_mode & 0o777 == 0o440
    everything = with_volume({"configMap": {"name": "cfg", "defaultMode": 0o444}})
    node.set_up(everything)
    assert (node.path(everything) / "c").read_bytes() == b"\x00\x01"
    node.objects.config_maps["cfg"] = {"data": {"a": "changed"}}
    node.set_up(everything)
    assert (node.path(everything) / "a").read_text() == "changed"
    assert not (node.path(everything) / "b").exists()
    node.volumes.tear_down("uid-1")
    assert node.volumes.known() == []


@pytest.mark.parametrize(
    ("source", "message", "final"),
    [
        ({"configMap": {"name": "no"}}, 'configmap "no" not found', False),
        ({"secret": {"secretName": "no"}}, 'secret "no" not found', False),
        ({"configMap": {"name": "cfg", "items": [{"key": "z", "path": "z"}]}},
         "references non-existent config key: z", False),
        ({"configMap": {"name": "cfg", "items": [{"key": "a", "path": "../a"}]}},
         "invalid path '../a': must be relative, without '..'", False),
        ({"nfs": {"server": "x", "path": "/"}}, "volume source nfs is not supported on this node", True),
        ({"iscsi": {"targetPortal": "x"}}, "volume source iscsi is not supported on this node", True),
        ({"emptyDir": {"medium": "HugePages"}}, "emptyDir medium 'HugePages' is not supported on this node", True),
        ({"hostPath": {"path": "/etc/../x"}}, "hostPath '/etc/../x' must be absolute, without '..'", True),
        ({"hostPath": {"path": "/", "type": "Weird"}}, "hostPath type 'Weird' is not supported", True),
        ({"hostPath": {"path": "/", "type": "File"}}, "hostPath type check failed: / is not a file", False),
    ],
)  # fmt: skip
def test_what_cannot_be_set_up_is_said(tmp_path: Path, source: JsonObject, message: str, final: bool) -> None:
    node = Node(tmp_path)
    node.objects.config_maps["cfg"] = {"data": {"a": "1"}}
    error = refused(node, source)
    assert (error.volume, error.message, error.final) == ("v", message, final)


def test_a_node_that_may_not_read_yet_waits_quietly(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.objects.refuse = status.forbidden("", "configmaps", "cfg", "no relationship found")
    assert refused(node, {"configMap": {"name": "cfg"}}).quiet


def test_contents_that_cannot_be_renewed_stay(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.objects.config_maps["words"] = {"metadata": {"name": "words"}, "data": {"a": "1"}}
    pod = with_volume({"configMap": {"name": "words"}})
    node.set_up(pod)
    del node.objects.config_maps["words"]
    another = Node(tmp_path)
    for agent in (node, another):
        with pytest.raises(VolumeError, match='configmap "words" not found') as failure:
            agent.set_up(pod)
        assert failure.value.stale
        assert (agent.path(pod) / "a").read_text() == "1"


def test_optional_objects_may_be_missing(tmp_path: Path) -> None:
    node = Node(tmp_path)
    pod = with_volume({"configMap": {"name": "no", "optional": True}})
    node.set_up(pod)
    assert [name for name in os.listdir(node.path(pod)) if not name.startswith("..")] == []


def test_host_paths_are_made_and_checked(tmp_path: Path) -> None:
    node = Node(tmp_path / "root")
    for type_, made in (
        ("DirectoryOrCreate", tmp_path / "d"),
        ("FileOrCreate", tmp_path / "f"),
        ("", tmp_path / "n"),
    ):
        pod = with_volume({"hostPath": {"path": str(made), "type": type_}})
        node.set_up(pod)
        assert node.path(pod) == made and made.exists()
    assert (tmp_path / "f").is_file() and (tmp_path / "d").is_dir()


def test_an_empty_dir_lasts_while_the_pod_does(tmp_path: Path) -> None:
    node = Node(tmp_path)
    pod = with_volume({"emptyDir": {}})
    node.set_up(pod)
    (node.path(pod) / "kept").write_text("x")
    node.set_up(pod)
    assert (node.path(pod) / "kept").exists()
    assert os.stat(node.path(pod)).st_mode & 0o777 == 0o777
    path = node.path(pod)
    node.volumes.tear_down("uid-1")
    assert not path.exists()


@pytest.mark.root
@needs_root
def test_projected_volumes_are_in_memory_and_tokens_are_renewed(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.objects.secrets["key"] = {"data": {"k": base64.b64encode(b"s").decode()}}
    sources = [
        {"serviceAccountToken": {"path": "token", "audience": "x", "expirationSeconds": 1000}},
        {"secret": {"name": "key"}},
        {"downwardAPI": {"items": [{"path": "ns", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ]
    pod = with_volume({"projected": {"sources": sources}}, securityContext={"fsGroup": 1234})
    try:
        node.set_up(pod)
        path = node.path(pod)
        assert os.path.ismount(path)
        assert ((path / "token").read_text(), (path / "k").read_text(), (path / "ns").read_text()) == (
            "token-x-1", "s", "default",
        )  # fmt: skip
        assert os.stat(path / "token").st_gid == 1234 and os.stat(path / "token").st_mode & 0o777 == 0o640
        assert node.volumes.refresh_s(pod) == 800
        node.objects.clock.time += 799
        node.set_up(pod)
        assert (path / "token").read_text() == "token-x-1"
        node.objects.clock.time += 2
        node.objects.refuse = status.unavailable("away")
        node.set_up(pod)
        assert (path / "token").read_text() == "token-x-1", "an old token that still holds is kept"
        node.objects.refuse = None
        node.objects.clock.time += 31
        node.set_up(pod)
        assert (path / "token").read_text() == "token-x-2"
    finally:
        node.volumes.tear_down("uid-1")
    assert mounts.mounted_under(str(tmp_path)) == [] and not path.exists()


@pytest.mark.root
@needs_root
def test_a_token_is_for_the_pods_one_user(tmp_path: Path) -> None:
    sources = [{"serviceAccountToken": {"path": "token"}}]
    for context, inner, wanted in (
        ({}, {}, (0, 0o644)),
        ({"runAsUser": 1001}, {}, (1001, 0o600)),
        ({"runAsUser": 1001, "fsGroup": 7}, {}, (1001, 0o640)),
        ({"runAsUser": 1001}, {"runAsUser": 1002}, (0, 0o644)),
    ):
        node = Node(tmp_path)
        other = {"name": "other", "image": "busybox:1", "securityContext": inner}
        pod = with_volume({"projected": {"sources": sources}}, securityContext=context)
        pod["spec"]["containers"] = [*pod["spec"]["containers"], other]
        try:
            node.set_up(pod)
            found = os.stat(node.path(pod) / "token")
            assert (found.st_uid, found.st_mode & 0o777) == wanted
            node.set_up(pod)
            assert os.stat(node.path(pod) / "token").st_ino == found.st_ino, "unchanged, it is not written again"
        finally:
            node.volumes.tear_down("uid-1")


@pytest.mark.root
@needs_root
def test_a_sub_path_is_mounted_from_inside(tmp_path: Path) -> None:
    node = Node(tmp_path)
    pod = with_volume({"emptyDir": {}})
    try:
        node.set_up(pod)
        exposed = node.path(pod, {"subPathExpr": "$(WHERE)/deep"})
        (exposed / "x").write_text("1")
        assert (node.path(pod) / "sub/deep/x").read_text() == "1"
        assert node.path(pod, {"subPath": "sub/deep/x"}).read_text() == "1"
        (node.path(pod) / "trap").symlink_to("/etc")
        with pytest.raises(VolumeError, match="leads out of the volume"):
            node.path(pod, {"subPath": "trap/passwd"})
        with pytest.raises(VolumeError, match="not set"):
            node.path(pod, {"subPathExpr": "$(NOWHERE)"})
    finally:
        node.volumes.tear_down("uid-1")
    assert mounts.mounted_under(str(tmp_path)) == []


def test_links_are_followed_only_inside(tmp_path: Path) -> None:
    base = tmp_path / "v"
    (base / "real").mkdir(parents=True)
    (base / "real/file").write_text("in")
    (tmp_path / "secret").write_text("out")
    (base / "link").symlink_to("real")
    (base / "back").symlink_to("real/../real")
    (base / "up").symlink_to("../secret")
    (base / "loop").symlink_to("loop")
    for inside in ("link/file", "back/file", "real/file"):
        descriptor = open_inside(str(base), inside, create=False)
        assert Path(f"/proc/self/fd/{descriptor}").read_text() == "in"
        os.close(descriptor)
    for outside in ("up", "loop", "../secret", "missing"):
        with pytest.raises(SubPathError):
            open_inside(str(base), outside, create=False)
