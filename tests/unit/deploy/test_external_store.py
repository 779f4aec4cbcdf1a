"""What `argosy up --etcd-servers` refuses before anything starts, and how it says so."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy import external_store
from deploy.cluster import ConfigError
from deploy.external_store import Files
from deploy.layout import Layout


@pytest.fixture
def port() -> Iterator[int]:
    """Of something that listens on the loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("127.0.0.1:2379", "a URL such as http://127.0.0.1:2379 is needed"),
        ("ftp://127.0.0.1", "a URL such as"),
        ("http://127.0.0.1:99999", "ort"),
        ("http://127.0.0.1/etcd", "a URL such as"),
        ("http://127.0.0.1:1", "nothing answers there"),
        ("http://[::1]:2379", "IPv4 only"),
        ("http://192.0.2.1:2379", "without an uplink"),
    ],
)
def test_urls_that_cannot_be(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        external_store.check([url], Files(), uplink=False)
    assert url in str(error.value)


def test_files_that_do_not_fit(port: int, tmp_path: Path) -> None:
    pem = str(tmp_path / "pem")
    Path(pem).write_text("pem")
    http, https = f"http://127.0.0.1:{port}", f"https://127.0.0.1:{port}"
    for urls, files, message in (
        ([http, https], Files(ca=pem), "all http or all https"),
        ([https], Files(), "needs --etcd-ca"),
        ([http], Files(ca=pem), "are for https"),
        ([https], Files(ca=pem, key=pem), "belong together"),
    ):
        with pytest.raises(ConfigError, match=message):
            external_store.check(urls, files, uplink=False)
    with pytest.raises(FileNotFoundError):
        external_store.check([https], Files(ca=pem + "-missing"), uplink=False)
    external_store.check([https], Files(ca=pem, certificate=pem, key=pem), uplink=False)
    external_store.check([http], Files(), uplink=False)


def test_files_are_copied_for_the_api_servers(layout: Layout, tmp_path: Path) -> None:
    for name in ("ca", "crt", "key"):
        (tmp_path / name).write_text(name)
    external_store.install(layout, Files(*(str(tmp_path / name) for name in ("ca", "crt", "key"))))
    there = {path.name: path.read_text() for path in Path(layout.pki).iterdir()}
    assert there == {"external-etcd-ca.crt": "ca", "external-etcd.crt": "crt", "external-etcd.key": "key"}
    assert (Path(layout.pki) / "external-etcd.key").stat().st_mode & 0o777 == 0o600
