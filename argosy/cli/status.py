"""`argosy status`: every process of a cluster, and its nodes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from argosy.cli.options import DEFAULT_NAME, NameOption, OutputOption, check_output

if TYPE_CHECKING:
    from deploy.layout import Layout


def register(app: typer.Typer) -> None:
    app.command("status")(status)


def status(name: NameOption = DEFAULT_NAME, output: OutputOption = "text") -> None:
    """Show every process with its pid, health, memory and CPU, and the state of the nodes."""
    from deploy import launch
    from deploy.layout import Layout

    as_json = check_output(output)
    layout = Layout(name)
    launch.current(layout)
    report = launch.status(layout)
    _add_node_states(layout, report)
    if as_json:
        print(json.dumps(report, indent=1))
    else:
        _print(report)


def _add_node_states(layout: Layout, report: dict[str, Any]) -> None:
    """Each node's `state` as the API has it; `Crashed` for one taken down, `Unknown` when the API does not answer."""
    import asyncio

    states: dict[str, str] = {}

    async def ask() -> None:
        from argosy.objects.status import ApiError
        from deploy import bring_up

        api = bring_up.client(layout)
        try:
            async with asyncio.timeout(3.0):
                for node in (await api.resource("", "v1", "nodes").list()).items:
                    states[node["metadata"]["name"]] = "Ready" if bring_up.is_ready(node) else "NotReady"
        except (ApiError, TimeoutError):
            pass
        finally:
            await api.close()

    asyncio.run(ask())
    for node in report["nodes"]:
        node["state"] = "Crashed" if node["crashed"] else states.get(node["name"], "Unknown")


def _print(report: dict[str, Any]) -> None:
    lines = [("PROCESS", "PID", "STATE", "HEALTH", "RESTARTS", "MEMORY", "CPU", "UP")]
    for item in report["processes"]:
        percent = 100 * item["cpu_s"] / item["up_s"] if item["up_s"] else 0.0
        lines.append(
            (
                item["name"],
                str(item["pid"] or "-"),
                item["state"],
                "ok" if item["healthy"] else "not well",
                str(item["restarts"]),
                f"{item['pss_bytes'] / (1 << 20):.1f} MiB",
                f"{percent:.1f} %",
                f"{item['up_s']:.0f} s",
            )
        )
    memory_bytes = sum(item["pss_bytes"] for item in report["processes"])
    lines.append(("in all", "", "", "", "", f"{memory_bytes / (1 << 20):.1f} MiB", "", ""))
    _table(lines)
    print()
    nodes = [("NODE", "STATE", "ADDRESS", "CPUS", "MEMORY")]
    for node in report["nodes"]:
        memory = f"{node['memory_bytes'] / (1 << 20):.0f} MiB"
        nodes.append((node["name"], node["state"], node["ip"], f"{node['cpus']:g}", memory))
    _table(nodes)


def _table(lines: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        print("   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
