"""Where images come from: loaded archives, a registry inside the LAN, and the failure of one that is nowhere."""

from __future__ import annotations

from argosy.testing import Cluster


def sleeper(name: str, image: str) -> dict:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "c", "image": image, "command": ["sleep", "3600"]}],
        },
    }


def test_a_missing_image_fails_fast_and_says_so(cluster: Cluster) -> None:
    cluster.apply(sleeper("nowhere", "no.such.registry.invalid/image:v1"))
    try:

        def reason() -> str:
            state = cluster.get("pod", "nowhere")["status"]["containerStatuses"][0]["state"]
            return state["waiting"]["reason"]

        cluster.eventually(lambda: reason() in ("ErrImagePull", "ImagePullBackOff"))
        cluster.eventually(lambda: reason() == "ImagePullBackOff")
        events = cluster.kubectl("get", "events", "--field-selector", "involvedObject.name=nowhere")
        assert "Failed to pull image" in events
        assert "ImagePullBackOff" in cluster.kubectl("get", "pod", "nowhere")
    finally:
        cluster.kubectl("delete", "pod", "nowhere", "--now")
