"""What docs/ tells to type works as written: the console blocks of each page are typed, in order, on a cluster.

A block's lines that begin with `$ ` are commands; the lines after one, up to the next, are what it prints, with `…`
for any text. A command is repeated until its output is as written, because a cluster takes its time; it must succeed,
too, unless that output says something (what went wrong). A block that begins with ```console kubectl 1.NN is typed
where there is such a kubectl, or a newer one.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from argosy.testing import Cluster
from tests.e2e import clients

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
TIMEOUT_S = 90.0
FENCE = re.compile(r"```console( kubectl 1\.(?P<kubectl>\d+))?")


@dataclass(frozen=True)
class Step:
    line: int
    command: str
    expected: tuple[str, ...]


def steps(text: str, kubectl: int) -> Iterator[Step]:
    """The commands of a page's console blocks that kubectl 1.`kubectl` knows."""
    inside, number, command = False, 0, ""
    expected: list[str] = []
    for index, line in enumerate(text.splitlines(), start=1):
        if not inside:
            fence = FENCE.fullmatch(line)
            inside = fence is not None and int(fence["kubectl"] or 0) <= kubectl
            continue
        if line.startswith("$ ") or line == "```":
            if command:
                yield Step(number, command, tuple(expected))
            number, command, expected = index, line.removeprefix("$ ") if line != "```" else "", []
            inside = line != "```"
        elif command.endswith("\\") and not expected:
            command = command[:-1] + line.strip()
        else:
            expected.append(line)


def matches(expected: tuple[str, ...], printed: str) -> bool:
    """Each expected line is found, in order; `…` is any text, also several lines."""
    lines = [line for line in expected if line.strip()]
    pattern = r"\s*\n(?:.*\n)*?".join(
        "[^\n]*".join(re.escape(part.strip()) for part in line.split("…")) for line in lines
    )
    return re.search(pattern, printed) is not None


def says_something(expected: tuple[str, ...]) -> bool:
    return any(line.strip(" …") for line in expected)


def test_blocks_are_read_as_described() -> None:
    text = "x\n```console\n$ one \\\n  more\nsaid\n$ two\n```\n$ not this\n```console\n$ three\na…\n…\n```\n"
    text += "```console kubectl 1.32\n$ four\n```\n```console kubectl 1.33\n$ not four\n```\n"
    assert [(step.command, step.expected) for step in steps(text, 32)] == [
        ("one more", ("said",)), ("two", ()), ("three", ("a…", "…")), ("four", ()),
    ]  # fmt: skip
    assert matches(("NAME…AGE", "web…Running…"), "NAME   READY  AGE\nother x\nweb-1  1/1 Running 5s\n")
    assert matches((), "anything")
    assert not matches(("web…Running",), "web-1 Pending\n")
    assert not matches(("a…", "b"), "b\na\n")
    assert says_something(("…", "…failed…")) and not says_something(("…",))


@pytest.fixture(scope="module")
def typed(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of whoever types: kubectl and argosy mean this cluster."""
    folder = tmp_path_factory.mktemp("bin")
    for name, text in (
        ("kubectl", f'#!/bin/sh\nexec "{cluster.kubectl_binary}" "$@"\n'),
        ("argosy", f'#!/bin/sh\nexec "{sys.executable}" -m argosy.cli "$@" --name {cluster.name}\n'),
        ("python", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n'),
    ):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    return {**os.environ, "KUBECONFIG": str(cluster.kubeconfig), "PATH": path}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_work_as_written(cluster: Cluster, typed: dict[str, str], page: Path) -> None:
    for step in steps(page.read_text(encoding="utf-8"), clients.minor(cluster.kubectl_binary)):
        where = f"{page.name}:{step.line}: {step.command}"

        def once(step: Step = step, where: str = where) -> bool:
            done = subprocess.run(
                ["bash", "-c", step.command],
                cwd=ROOT, env=typed, capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
            )  # fmt: skip
            printed = done.stdout + done.stderr
            assert matches(step.expected, printed), f"{where}\nexpected {step.expected}\n{printed}"
            assert done.returncode == 0 or says_something(step.expected), f"{where}\n{printed}"
            return True

        cluster.eventually(once, timeout_s=TIMEOUT_S, poll_s=1.0, what=where)
