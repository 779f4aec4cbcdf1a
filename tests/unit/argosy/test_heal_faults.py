"""What a test of a user breaks with `cluster.chaos` is healed when it ends, however it ends."""

from __future__ import annotations

import json

import pytest

pytest_plugins = ["pytester"]

CONFTEST = """
import json, os
from pathlib import Path
import pytest
from argosy.testing import Cluster
from deploy.chaos import api
from deploy.layout import Layout

HERE = Path(__file__).parent
TOLD = HERE / "told"

def tell(*what):
    with TOLD.open("a") as file:
        print(json.dumps(what), file=file)

class Chaos:
    def __init__(self, name):
        self.name = name
    def kill(self, target):
        tell("killed", self.name, target)
    def heal(self):
        tell("healed", self.name)

@pytest.fixture(autouse=True, scope="session")
def faked():
    # Clusters that run are a folder here, and faults only a line.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api, "Chaos", Chaos)
        patch.setattr(Layout, "run", property(lambda self: str(HERE / "run" / self.name)))
        yield

def running(name):
    os.makedirs(Layout(name).run, exist_ok=True)
    return Cluster(name, HERE / "kubeconfig", "kubectl")

@pytest.fixture
def cluster(request):
    tell("began", request.node.name)
    yield running("one")
    tell("ended", request.node.name)

@pytest.fixture
def other():
    return running("two")

@pytest.fixture
def broken(cluster):
    cluster.chaos.kill("etcd-1")
    raise RuntimeError("no")
"""


def told(pytester: pytest.Pytester, tests: str, **outcomes: int) -> list[list[str]]:
    """What those tests tell of their faults, with the outcomes that are asked for."""
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(tests)
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(**outcomes)
    return [json.loads(line) for line in (pytester.path / "told").read_text().splitlines()]


@pytest.mark.parametrize(
    ("end", "outcomes"),
    [
        ("pass", {"passed": 1}),
        ("assert False", {"failed": 1}),
        ("raise RuntimeError('no')", {"failed": 1}),
        ("__import__('pytest').skip('no')", {"skipped": 1}),
        ("__import__('sys').exit(3)", {"failed": 1}),
    ],
)
def test_faults_are_healed_however_a_test_ends(pytester: pytest.Pytester, end: str, outcomes: dict[str, int]) -> None:
    tests = f"""
def test_it(cluster):
    cluster.chaos.kill("etcd-1")
    {end}

def test_next(cluster):
    pass
"""
    outcomes = {**outcomes, "passed": outcomes.get("passed", 0) + 1}
    seen = told(pytester, tests, **outcomes)
    assert [item for item in seen if item[0] != "ended"] == [
        ["began", "test_it"], ["killed", "one", "etcd-1"], ["healed", "one"], ["began", "test_next"],
    ]  # fmt: skip


def test_faults_are_healed_after_an_error_in_a_fixture(pytester: pytest.Pytester) -> None:
    tests = "def test_it(broken): pass\n\ndef test_next(cluster): pass\n"
    seen = told(pytester, tests, errors=1, passed=1)
    assert [item for item in seen if item[0] != "ended"] == [
        ["began", "test_it"], ["killed", "one", "etcd-1"], ["healed", "one"], ["began", "test_next"],
    ]  # fmt: skip


def test_each_cluster_that_was_harmed_and_no_other_is_healed(pytester: pytest.Pytester) -> None:
    tests = """
def test_both(cluster, other):
    cluster.chaos.kill("etcd-1")
    other.chaos.kill("node-1")
    assert False

def test_other(cluster, other):
    other.chaos.kill("node-2")
    assert False
"""
    seen = told(pytester, tests, failed=2)
    begun = seen.index(["began", "test_other"])
    healed = [[item for item in part if item[0] == "healed"] for part in (seen[:begun], seen[begun:])]
    assert sorted(healed[0]) == [["healed", "one"], ["healed", "two"]]
    assert healed[1] == [["healed", "two"]]


def test_a_cluster_that_is_gone_by_then_needs_no_healing(pytester: pytest.Pytester) -> None:
    tests = """
import os
from deploy.layout import Layout

def test_it(cluster):
    cluster.chaos.kill("etcd-1")
    os.rmdir(Layout("one").run)
    assert False
"""
    assert ["healed", "one"] not in told(pytester, tests, failed=1)
