"""From a name or a kubeconfig to addresses and an identity; what cannot be used is refused, and says why."""

import base64
from pathlib import Path

import pytest
import yaml

from argosy import connecting, places
from argosy.client import Client
from argosy.objects.status import ApiError


def data(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def config(
    server: str = "https://10.0.0.1:6443", name: str = "c", cluster: dict | None = None, **user: object
) -> dict:
    user = user or {"client-certificate-data": data("cert"), "client-key-data": data("key")}
    cluster = {"server": server, "certificate-authority-data": data("ca"), **(cluster or {})}
    return {
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
        "contexts": [
            {"name": "x", "context": {"cluster": name, "user": "u"}},
            {"name": "y", "context": {"cluster": name, "user": "nobody"}},
        ],
        "current-context": "x",
    }


def written(folder: Path, content: object) -> str:
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(content))
    return str(path)


def test_a_cluster_elsewhere_is_reached_at_the_port_after_the_apis(tmp_path: Path) -> None:
    access = connecting.of_kubeconfig(written(tmp_path, config()), "")
    assert list(access.addresses) == ["10.0.0.1:6444"]
    assert (access.tls.ca, access.tls.certificate, access.tls.key) == (b"ca", b"cert", b"key")
    assert access.tls.server_name == ""
    named = config("https://[fd00::1]", cluster={"tls-server-name": "api.example"})
    access = connecting.of_kubeconfig(written(tmp_path, named), "x")
    assert (list(access.addresses), access.tls.server_name) == (["[fd00::1]:444"], "api.example")


def test_a_cluster_of_this_machine_is_reached_by_its_sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "RUN_ROOT", str(tmp_path))
    monkeypatch.setattr(places, "STATE_ROOT", str(tmp_path / "state"))
    (tmp_path / "mine").mkdir()
    for name in ("api.sock", "api-2.sock", "control.sock"):
        (tmp_path / "mine" / name).touch()
    sockets = [f"unix:{tmp_path}/mine/api-2.sock", f"unix:{tmp_path}/mine/api.sock"]
    own = config("https://127.0.0.1:6443", "argosy-mine")
    access = connecting.of_kubeconfig(written(tmp_path, own), "")
    assert (list(access.addresses), access.tls.server_name) == (sockets, "localhost")
    other = config("https://127.0.0.1:6443", "argosy-other")
    assert list(connecting.of_kubeconfig(written(tmp_path, other), "").addresses) == ["127.0.0.1:6444"]
    pki = tmp_path / "state" / "mine" / "pki"
    pki.mkdir(parents=True)
    for name in ("ca.crt", "admin.crt", "admin.key"):
        (pki / name).write_text(name)
    access = connecting.of_cluster("mine")
    assert (list(access.addresses), access.tls.key) == (sockets, b"admin.key")
    with pytest.raises(ApiError, match="no cluster 'other' runs on this machine") as caught:
        Client.from_cluster("other")
    assert caught.value.code == 503


def test_files_are_found_beside_the_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("c.pem", "k.pem", "t"):
        (tmp_path / name).write_text(f"{name}\n")
    user = {"client-certificate": "c.pem", "client-key": str(tmp_path / "k.pem"), "tokenFile": "t"}
    monkeypatch.setenv("KUBECONFIG", f":{written(tmp_path, config(**user))}:/other")
    access = connecting.of_kubeconfig("", "")
    assert (access.tls.certificate, access.tls.key, access.token) == (b"c.pem\n", b"k.pem\n", "t")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "is no kubeconfig"),
        ({}, "no current context"),
        ({**config(), "current-context": "z"}, "there is no context 'z'"),
        ({**config(), "clusters": None}, "there is no cluster 'c'"),
        ({**config(), "current-context": "y"}, "there is no user 'nobody'"),
        (config("http://10.0.0.1"), "is no https URL"),
        (config("https://10.0.0.1:port"), "is no https URL"),
        (config(cluster={"insecure-skip-tls-verify": True}), "insecure-skip-tls-verify is not supported"),
        (config(token="t"), "no client certificate"),
        (config(**{"client-certificate-data": "%", "client-key-data": data("k")}), "client-certificate-data"),
        (config(**{"client-certificate": "absent", "client-key-data": data("k")}), "client-certificate: "),
        (
            config(**{"client-certificate-data": data("c"), "client-key-data": data("k"), "exec": {"command": "x"}}),
            "'exec' is not supported",
        ),
    ],
)
def test_what_cannot_be_used_is_refused(tmp_path: Path, content: object, message: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(ValueError, match=message) as caught:
        Client.from_kubeconfig(path)
    assert path in str(caught.value)


def test_a_kubeconfig_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        connecting.of_kubeconfig(str(tmp_path / "absent"), "")
    (tmp_path / "torn").write_text("a: [")
    with pytest.raises(ValueError, match="cannot be read"):
        connecting.of_kubeconfig(str(tmp_path / "torn"), "")


def test_names_of_contexts() -> None:
    assert [places.context_name(name) for name in ("argosy", "x")] == ["argosy", "argosy-x"]
    assert [places.cluster_name(name) for name in ("argosy", "argosy-x", "kind-x")] == ["argosy", "x", ""]
