"""Where images come from: loaded archives, registries inside the LAN, and the failure of one that is nowhere."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from argosy.testing import Cluster
from deploy import oci
from tests.e2e.registry import PASSWORD, USER, Registry, docker_archive, image

NODE = "node-1"

needs_registry = pytest.mark.skipif(
    shutil.which("docker-registry") is None, reason="Debian's docker-registry is not installed"
)


def sleeper(name: str, image: str, **spec: object) -> dict:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "c", "image": image, "command": ["sleep", "3600"]}],
            **spec,
        },
    }


@pytest.fixture
def pod(cluster: Cluster) -> Iterator[Callable[..., str]]:
    """Makes pods on one node; all go at the end."""
    made: list[str] = []

    def make(name: str, image: str, policy: str = "", **spec: object) -> str:
        manifest = sleeper(name, image, nodeName=NODE, **spec)
        if policy:
            manifest["spec"]["containers"][0]["imagePullPolicy"] = policy
        cluster.apply(manifest)
        made.append(name)
        return name

    yield make
    if made:
        cluster.kubectl("delete", "pod", *made, "--now")


@pytest.fixture(scope="module")
def registry(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    running = Registry(cluster, tmp_path_factory.mktemp("public") / "registry", private=False)
    try:
        yield running
    finally:
        running.stop()


def word(cluster: Cluster, name: str) -> str:
    """What the pod's image says, once it runs."""
    cluster.wait(f"pod/{name}", "condition=Ready")
    return cluster.kubectl("exec", name, "--", "cat", "/word")


def status(cluster: Cluster, name: str) -> dict:
    return cluster.get("pod", name)["status"]["containerStatuses"][0]


def waits_for(cluster: Cluster, name: str, reason: str) -> str:
    """Wait until the pod's container waits for `reason`; gives the message."""
    return cluster.eventually(
        lambda: (
            status(cluster, name)["state"]["waiting"]["reason"] == reason
            and (status(cluster, name)["state"]["waiting"].get("message") or reason)
        ),
        what=f"{name} waits for {reason}",
    )


def told(cluster: Cluster, name: str, *texts: str) -> bool:
    """What `kubectl describe` says, once the node's events have come."""

    def all_there() -> bool:
        described = cluster.kubectl("describe", "pod", name)
        assert not [text for text in texts if text not in described], described
        return True

    return cluster.eventually(all_there)


def test_a_missing_image_fails_fast_and_says_so(cluster: Cluster, pod: Callable[..., str]) -> None:
    name = pod("nowhere", "no.such.registry.invalid/image:v1")
    cluster.eventually(
        lambda: status(cluster, name)["state"]["waiting"]["reason"] in ("ErrImagePull", "ImagePullBackOff")
    )
    waits_for(cluster, name, "ImagePullBackOff")
    assert "ImagePullBackOff" in cluster.kubectl("get", "pod", name)


@needs_registry
def test_a_pull_by_tag_and_by_digest(cluster: Cluster, registry: Registry, pod: Callable[..., str]) -> None:
    digest = registry.push("team/hello", "v1", image("", "by tag"))
    other = registry.push("team/hello", "v2", image("", "by digest"))
    assert word(cluster, pod("by-tag", "public.test/team/hello:v1")) == "by tag"
    assert status(cluster, "by-tag")["imageID"].endswith(digest)
    assert word(cluster, pod("by-digest", f"public.test/team/hello@{other}")) == "by digest"
    told(cluster, "by-tag", 'Successfully pulled image "public.test/team/hello:v1"')


@needs_registry
def test_pull_policies(cluster: Cluster, registry: Registry, pod: Callable[..., str]) -> None:
    name = "public.test/moving:v1"
    registry.push("moving", "v1", image("", "first"))
    assert word(cluster, pod("first", name)) == "first"
    registry.push("moving", "v1", image("", "second"))
    assert word(cluster, pod("kept", name, "IfNotPresent")) == "first"
    told(cluster, "kept", "already present on machine")
    assert word(cluster, pod("fresh", name, "Always")) == "second"
    assert word(cluster, pod("still", name, "Never")) == "second"
    pod("never", "public.test/moving:v2", "Never")
    message = waits_for(cluster, "never", "ErrImageNeverPull")
    assert message == 'Container image "public.test/moving:v2" is not present with pull policy of Never'
    told(cluster, "never", "Error: ErrImageNeverPull")


@needs_registry
def test_an_image_that_the_registry_lacks_and_then_has(
    cluster: Cluster, registry: Registry, pod: Callable[..., str]
) -> None:
    pod("late", "public.test/late:v1")
    cluster.eventually(
        lambda: status(cluster, "late")["state"]["waiting"]["reason"] in ("ErrImagePull", "ImagePullBackOff")
    )
    assert "public.test/late:v1" in waits_for(cluster, "late", "ImagePullBackOff")
    told(
        cluster,
        "late",
        'Pulling image "public.test/late:v1"',
        'Failed to pull image "public.test/late:v1"',
        "not found",
        "Error: ErrImagePull",
        'Back-off pulling image "public.test/late:v1"',
        "Error: ImagePullBackOff",
    )
    registry.push("late", "v1", image("", "late"))
    assert word(cluster, "late") == "late"


@needs_registry
def test_a_private_registry_needs_a_pull_secret(cluster: Cluster, tmp_path: Path, pod: Callable[..., str]) -> None:
    private = Registry(cluster, tmp_path / "registry", private=True)
    try:
        private.push("secret", "v1", image("", "sesame"))
        login = [f"--docker-username={USER}", f"--docker-password={PASSWORD}"]
        cluster.kubectl("create", "secret", "docker-registry", "login", "--docker-server=private.test", *login)
        try:
            pod("stranger", "private.test/secret:v1")
            assert "private.test/secret:v1" in waits_for(cluster, "stranger", "ImagePullBackOff")
            pod("friend", "private.test/secret:v1", "Always", imagePullSecrets=[{"name": "login"}])
            assert word(cluster, "friend") == "sesame"
        finally:
            cluster.kubectl("delete", "secret", "login")
    finally:
        private.stop()


@pytest.mark.parametrize("form", ["docker", "oci"])
def test_archives_are_loaded_and_run(cluster: Cluster, tmp_path: Path, form: str, pod: Callable[..., str]) -> None:
    name = f"loaded.test/{form}:v1"
    made = image(name, form)
    file = tmp_path / f"{form}.tar"
    file.write_bytes(docker_archive(made) if form == "docker" else oci.archive([made]))
    cluster.argosy("image load", str(file), "--node", NODE)
    assert word(cluster, pod(f"loaded-{form}", name, "Never")) == form


def test_archives_that_are_broken_are_refused(cluster: Cluster, tmp_path: Path) -> None:
    whole = oci.archive([image("loaded.test/broken:v1", "broken")])
    no_image = oci.Layer(files={"readme": (b"no image", 0o644)}).tar()
    damaged = whole.replace(b"broken", b"kaputt")
    for at, content in enumerate((b"no archive at all", whole[: len(whole) // 2], no_image, damaged, b"")):
        file = tmp_path / f"broken-{at}.tar"
        file.write_bytes(content)
        said = cluster.argosy("image load", str(file), "--node", NODE, check=False)
        assert "argosy: " in said and str(file) in said and "Traceback" not in said, said
    said = cluster.argosy("image load", str(tmp_path / "missing.tar"), check=False)
    assert "there is no such file" in said
    said = cluster.argosy("image load", str(file), "--node", "node-77", check=False)
    assert "has no node 'node-77'" in said
