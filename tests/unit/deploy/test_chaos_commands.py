"""`argosy chaos` by its functions, on what `argosy up` leaves on disk: groups, and dry runs that do nothing."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from argosy.cli import chaos as commands
from deploy import netns
from deploy.chaos import inject, journal
from deploy.chaos.api import Chaos
from deploy.chaos.fault import FaultError
from deploy.cluster import ClusterConfig
from deploy.lan import Lan
from deploy.layout import Layout
from deploy.network import place_of
from tests.processes import state


@pytest.fixture
def lan(layout: Layout, config: ClusterConfig) -> Iterator[str]:
    """The namespace of the LAN; whatever is in force is healed at the end."""
    Lan(layout).ensure(place_of(layout, config).members)
    yield layout.namespace("lan")
    inject.heal(inject.site_of(layout))


def groups_in_force(layout: Layout) -> list[list[list[str]]]:
    return [fault.settings["groups"] for fault in journal.in_force(layout)]


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        ("etcd-1:etcd-2", [["etcd-1"], ["etcd-2"]]),
        ("etcd-1,node-1:etcd-2", [["etcd-1", "node-1"], ["etcd-2"]]),
        ("etcd-1:etcd-2:etcd-3,apiserver-1", [["etcd-1"], ["etcd-2"], ["etcd-3", "cp-1"]]),
        ("scheduler-1,dns:node-1/agent", [["cp-1"], ["node-1"]]),
        ("etcd-1,:etcd-2", [["etcd-1"], ["etcd-2"]]),
    ],
)
def test_groups_are_cut_off_from_each_other(
    layout: Layout, lan: str, text: str, groups: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    commands.partition(groups=text, name=layout.name)
    assert groups_in_force(layout) == [groups]
    assert " | ".join(", ".join(group) for group in groups) in capsys.readouterr().out
    commands.heal(name=layout.name)
    Chaos(layout.name).partition(groups=[part.strip(",").split(",") for part in text.split(":")])
    assert groups_in_force(layout) == [groups], "from Python it is the same"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "either components, with or without --from, or --groups a,b:c"),
        ({"targets": ["etcd-1"], "groups": "etcd-1:etcd-2"}, "either components"),
        ({"from_": ["etcd-1"], "groups": "etcd-1:etcd-2"}, "--from goes with components, not with --groups"),
        ({"groups": "etcd-1"}, "--groups etcd-1: two at least"),
        ({"groups": "etcd-1,etcd-2"}, "--groups etcd-1,etcd-2: two at least"),
        ({"groups": "etcd-1:"}, "--groups etcd-1:: a group is empty"),
        ({"groups": ":"}, "--groups :: a group is empty"),
        ({"groups": "etcd-1:,:etcd-2"}, "--groups etcd-1:,:etcd-2: a group is empty"),
        ({"groups": "etcd-1:nobody"}, "no component 'nobody' on this machine; it has: .*etcd-1, etcd-2"),
        ({"groups": "etcd-1: etcd-2"}, "no component ' etcd-2'"),
        ({"groups": "etcd-1:etcd-2,etcd-1"}, "etcd-1 cannot be cut off from itself"),
        ({"groups": "apiserver-1:dns"}, "cp-1 cannot be cut off from itself"),
        ({"groups": "etcd-1:supervisor"}, "supervisor is not on the cluster's LAN"),
        ({"targets": ["etcd-1"], "from_": [","]}, "--from ,: nobody is named"),
        ({"targets": ["etcd-1"], "from_": ["etcd-9"]}, "no component 'etcd-9'"),
        ({"groups": "etcd-1:etcd-2", "for_": "soon"}, "--for soon: a duration"),
    ],
)
def test_bad_groups_are_refused_by_name(
    layout: Layout, config: ClusterConfig, settings: dict[str, object], said: str
) -> None:
    with pytest.raises((ValueError, FaultError), match=said):
        commands.partition(**settings, name=layout.name)  # type: ignore[arg-type]
    assert journal.faults(layout) == []


@pytest.mark.parametrize(
    ("names", "groups", "said"),
    [
        ((), [], "a group of a partition is empty"),
        ((), [["etcd-1"], []], "a group of a partition is empty"),
        ((), [["etcd-1"], ["nobody"]], "no component 'nobody'"),
        ((), [["etcd-1"], ["etcd-2", "etcd-1"]], "etcd-1 cannot be cut off from itself"),
        (("node-1",), [["etcd-1"], ["etcd-2"]], "either names or groups"),
    ],
)
def test_bad_groups_are_refused_in_python_too(
    layout: Layout, config: ClusterConfig, names: tuple[str, ...], groups: list[list[str]], said: str
) -> None:
    with pytest.raises(FaultError, match=said):
        Chaos(layout.name).partition(*names, groups=groups)
    assert journal.faults(layout) == []


def links_of(layout: Layout, lan: str) -> list[str]:
    """Everything that a fault of a link would change."""
    inside = ["nsenter", f"--net={layout.namespace_path('lan')}", "--", "nft", "list", "ruleset"]
    own = [netns.tool(["tc", "-n", layout.namespace("etcd-1"), "qdisc", "show", "dev", "eth0"])]
    return [netns.tool(inside), netns.tool(["tc", "-n", lan, "qdisc"]), netns.tool(["ip", "-n", lan, "link"]), *own]


def files(layout: Layout) -> list[str]:
    """What is in the cluster's folders; a dry run leaves not even a journal."""
    return sorted(str(path) for root in (layout.run, layout.state) for path in Path(root).rglob("*"))


@pytest.mark.parametrize(
    ("command", "said", "step"),
    [
        (lambda name: commands.kill(["etcd-1"], dry_run=True, name=name), "etcd-1 killed.", "SIGKILL to etcd-1, pid"),
        (
            lambda name: commands.kill(["etcd-1"], hold=True, dry_run=True, name=name),
            "etcd-1 killed and kept down.",
            "so that etcd-1 is not started",
        ),
        (lambda name: commands.pause(["etcd-1"], "5s", True, name), "etcd-1 paused, for 5 s.", "SIGSTOP to"),
        (lambda name: commands.restart(["etcd-1"], True, name), "etcd-1 restarted.", "SIGTERM to"),
        (
            lambda name: commands.partition(["etcd-1"], ["node-1"], dry_run=True, name=name),
            "etcd-1 | node-1.",
            "drop what etcd-1 sends to node-1",
        ),
        (
            lambda name: commands.partition(groups="etcd-1:etcd-2", dry_run=True, name=name),
            "etcd-1 | etcd-2.",
            "drop what etcd-2 sends to etcd-1",
        ),
        (lambda name: commands.loss(["etcd-1"], 20.0, dry_run=True, name=name), "etcd-1", "20"),
        (lambda name: commands.delay(["etcd-1"], "20ms", dry_run=True, name=name), "etcd-1 delayed by 20 ms", ""),
        (lambda name: commands.rate(["etcd-1"], "10mbit", dry_run=True, name=name), "etcd-1", "10"),
        (lambda name: commands.fill_disk(["etcd-1"], dry_run=True, name=name), "etcd-1: disk 100 % full.", "write"),
        (lambda name: commands.slow_disk(["etcd-1"], "20ms", dry_run=True, name=name), "etcd-1", "write"),
        (lambda name: commands.skew_clock(["etcd-1"], "5m", dry_run=True, name=name), "etcd-1", "write"),
    ],
)
def test_a_dry_run_says_what_would_be_and_does_nothing(
    layout: Layout,
    lan: str,
    process: subprocess.Popen[bytes],
    capsys: pytest.CaptureFixture[str],
    command: Callable[[str], None],
    said: str,
    step: str,
) -> None:
    site = inject.site_of(layout)
    before = (links_of(layout, lan), files(layout), site.all_processes("etcd-1"))
    command(layout.name)
    first, *steps = capsys.readouterr().out.splitlines()
    assert first.startswith("Would be: ") and said in first
    assert any(step in line for line in steps), steps
    commands.status(layout.name)
    assert capsys.readouterr().out == "No fault is in force.\n"
    assert (links_of(layout, lan), files(layout), site.all_processes("etcd-1")) == before
    assert process.poll() is None
    for pid, _ in site.all_processes("etcd-1"):
        assert state(pid) == "S", "neither stopped nor dead"
    assert not os.path.exists(layout.chaos)
