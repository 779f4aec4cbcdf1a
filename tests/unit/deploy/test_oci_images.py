"""Image archives hold what the OCI image specification wants, and the built-in ones run."""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import signal
import subprocess
import tarfile
from pathlib import Path

import pytest

from deploy import builtin_images, cleanup, oci


def read(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {item.name: tar.extractfile(item).read() for item in tar if item.isfile()}


def test_every_blob_is_where_its_digest_says() -> None:
    layer = oci.Layer(files={"bin/x": (b"x" * 1000, 0o755)}, folders={"bin": 0o755}, links={"y": "bin/x"}).tar()
    one = oci.Image(["example.org/one:v1", "example.org/one:latest"], [layer], {"Cmd": ["/bin/x"]})
    two = oci.Image(["example.org/two:v2"], [layer, oci.Layer(files={"z": (b"", 0o644)}).tar()], {})
    files = read(oci.archive([one, two], arch="amd64"))
    for name, data in files.items():
        if name.startswith("blobs/"):
            assert hashlib.sha256(data).hexdigest() == name.rpartition("/")[2]
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads(files["index.json"])
    names = [item["annotations"]["io.containerd.image.name"] for item in index["manifests"]]
    assert names == ["example.org/one:v1", "example.org/one:latest", "example.org/two:v2"]
    for item in index["manifests"]:
        manifest = json.loads(files[f"blobs/sha256/{item['digest'].partition(':')[2]}"])
        config = json.loads(files[f"blobs/sha256/{manifest['config']['digest'].partition(':')[2]}"])
        assert config["rootfs"]["diff_ids"] == [part["digest"] for part in manifest["layers"]]
        assert item["size"] == len(files[f"blobs/sha256/{item['digest'].partition(':')[2]}"])
        assert item["platform"] == {"architecture": "amd64", "os": "linux"}


def test_the_same_content_is_the_same_archive() -> None:
    def make() -> bytes:
        layer = oci.Layer(files={"a": (b"1", 0o644), "b": (b"2", 0o755)}).tar()
        return oci.archive([oci.Image(["x/y:z"], [layer], {"Env": ["A=B"]})])

    assert make() == make()


def test_modes_folders_and_links_are_kept() -> None:
    layer = oci.Layer(files={"s": (b"#!", 0o4755)}, folders={"tmp": 0o1777}, links={"l": "s"}).tar()
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        found = {item.name: item for item in tar}
    assert found["s"].mode == 0o4755
    assert found["tmp"].mode == 0o1777 and found["tmp"].isdir()
    assert found["l"].issym() and found["l"].linkname == "s"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="machine code of x86-64")
def test_pause_waits_and_reaps(tmp_path: Path) -> None:
    program = tmp_path / "pause"
    program.write_bytes(builtin_images.pause_program())
    program.chmod(0o755)
    assert program.stat().st_size < 200
    process = subprocess.Popen([str(program)])
    try:

        def status(key: str) -> str:
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            return next(line.split()[1] for line in lines if line.startswith(key))

        ignores_children = 1 << (signal.SIGCHLD - 1)
        assert cleanup.wait_until(lambda: bool(int(status("SigIgn:"), 16) & ignores_children), 5.0)
        assert cleanup.wait_until(lambda: status("State:") == "S", 5.0)
        assert process.poll() is None
    finally:
        process.terminate()
        assert process.wait(5) == -signal.SIGTERM


@pytest.mark.skipif(not any(os.path.exists(path) for path in builtin_images.BUSYBOX), reason="no busybox here")
def test_the_builtin_archive_has_both_versions_of_the_demo(tmp_path: Path) -> None:
    path = tmp_path / "images" / "builtin.tar"
    builtin_images.write_archive(str(path))
    files = read(path.read_bytes())
    manifests = json.loads(files["index.json"])["manifests"]
    by_name = {item["annotations"]["io.containerd.image.name"]: item["digest"] for item in manifests}
    assert len(set(by_name.values())) == 4, "busybox has two names"
    for version in ("v2.1.0", "v2.2.0"):
        manifest = json.loads(files[f"blobs/sha256/{by_name[f'docker.io/myregistry/api:{version}'][7:]}"])
        config = json.loads(files[f"blobs/sha256/{manifest['config']['digest'][7:]}"])["config"]
        assert f"VERSION={version}" in config["Env"]
        assert config["ExposedPorts"] == {"8080/tcp": {}}
