"""`argosy.testing`: what waiting says when it fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from argosy.testing import Cluster


@pytest.fixture
def offline(tmp_path: Path) -> Cluster:
    return Cluster("none", tmp_path / "kubeconfig", "kubectl")


def test_waiting_ends_with_a_true_value_or_the_one_that_is_wanted(offline: Cluster) -> None:
    values = iter([0, "", 3, 4])
    assert offline.eventually(lambda: next(values), poll_s=0) == 3
    assert offline.eventually(lambda: next(values), equals=4, poll_s=0) == 4
    assert offline.eventually(list, equals=[], timeout_s=0) == []
    assert offline.eventually(lambda: None, equals=None, timeout_s=0) is None


def test_a_failure_says_what_was_there_instead(offline: Cluster) -> None:
    def nobody() -> bool:
        raise AssertionError("pods are left: ['a']")

    with pytest.raises(AssertionError, match=r"nobody: not so after 0 s: pods are left: \['a'\]"):
        offline.eventually(nobody, timeout_s=0)
    with pytest.raises(AssertionError, match=r"all gone: not so after 0 s: \['a'\], not \[\]"):
        offline.eventually(lambda: ["a"], equals=[], timeout_s=0, what="all gone")
    with pytest.raises(AssertionError, match=r"not so after 0 s: KeyError\('status'\)"):
        offline.eventually(lambda: {}["status"], timeout_s=0)


def test_any_kubectl_waits_for_values_and_for_what_is_not_there_yet(tmp_path: Path) -> None:
    """One that counts how often it was asked, and finds the pod the third time."""
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(
        f"""#!/bin/sh
echo "$@" >>{tmp_path}/asked
[ $(wc -l <{tmp_path}/asked) -ge 3 ] || exit 1
printf Failed
"""
    )
    kubectl.chmod(0o755)
    cluster = Cluster("none", tmp_path / "kubeconfig", str(kubectl))
    cluster.wait("pod/a", "create", "-n", "x")
    asked = (tmp_path / "asked").read_text().splitlines()
    assert len(asked) == 3 and asked[0].endswith("get pod/a -n x")
    cluster.wait("pod/a", "jsonpath={.status.phase}=Failed", "-n", "x")
    assert (tmp_path / "asked").read_text().splitlines()[-1].endswith("get pod/a -n x -o jsonpath={.status.phase}")
    with pytest.raises(AssertionError, match="'Failed', not 'Running'"):
        cluster.wait("pod/a", "jsonpath={.status.phase}=Running", timeout_s=0)
