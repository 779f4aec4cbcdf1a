"""A user's kubeconfig keeps what is not ours, through `up` and `down`."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import yaml

from argosy import pki
from argosy.host import real_host
from deploy import kubeconfig
from deploy.layout import Layout


def entry(name: str) -> dict:
    return {
        "clusters": [{"name": name, "cluster": {"server": f"https://{name}"}}],
        "users": [{"name": name, "user": {"token": name}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }


def test_names() -> None:
    assert kubeconfig.context_name("argosy") == "argosy"
    assert kubeconfig.context_name("ci") == "argosy-ci"
    assert kubeconfig.path({"KUBECONFIG": "/a/b:/c", "HOME": "/h"}) == "/a/b"
    assert kubeconfig.path({"KUBECONFIG": "", "HOME": "/h"}) == "/h/.kube/config"


def test_up_and_down_on_a_machine_without_one(tmp_path: Path) -> None:
    file = str(tmp_path / ".kube" / "config")
    kubeconfig.merge(file, entry("argosy"))
    assert yaml.safe_load(Path(file).read_text())["current-context"] == "argosy"
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
    assert kubeconfig.remove(file, "argosy")
    assert list(tmp_path.iterdir()) == [], "neither the file nor a lock nor the folder stays"
    assert not kubeconfig.remove(file, "argosy")


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    file = tmp_path / "config"
    mine = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "prod", "cluster": {"server": "https://prod"}}],
        "users": [{"name": "prod", "user": {"exec": {"command": "login"}}}],
        "contexts": [{"name": "prod", "context": {"cluster": "prod", "user": "prod", "namespace": "x"}}],
        "current-context": "prod",
        "preferences": {"colors": True},
    }
    file.write_text(yaml.safe_dump(mine))
    kubeconfig.merge(str(file), entry("argosy"))
    kubeconfig.merge(str(file), entry("argosy"))
    merged = yaml.safe_load(file.read_text())
    assert [item["name"] for item in merged["clusters"]] == ["prod", "argosy"]
    assert merged["current-context"] == "argosy"
    assert kubeconfig.remove(str(file), "argosy")
    assert yaml.safe_load(file.read_text()) == {**mine, "current-context": ""}


def test_one_that_cannot_be_read_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text("clusters: [\n")
    with pytest.raises(kubeconfig.KubeconfigError, match="config"):
        kubeconfig.merge(str(file), entry("argosy"))
    assert file.read_text() == "clusters: [\n"
    file.write_text("just text\n")
    with pytest.raises(kubeconfig.KubeconfigError, match="no kubeconfig"):
        kubeconfig.merge(str(file), entry("argosy"))


def test_the_administrators_credentials_are_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = pki.Authority.create("test", real_host())
    authority.identity.write(str(tmp_path / "ca"))
    authority.issue("kubernetes-admin", organizations=["system:masters"]).write(str(tmp_path / "admin"))
    monkeypatch.setattr(Layout, "pki", property(lambda _self: str(tmp_path)))
    made = kubeconfig.entry("ci", "https://127.0.0.1:6443", Layout("ci"))
    assert made["current-context"] == "argosy-ci"
    assert made["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:6443"
    assert set(made["users"][0]["user"]) == {"client-certificate-data", "client-key-data"}
