"""`argosy status`: every process of a cluster, and its nodes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from argosy.cli.options import DEFAULT_NAME, NameOption, OutputOption, check_output

if TYPE_CHECKING:
    from argosy.objects.types import JsonObject
    from deploy.cluster import ClusterConfig
    from deploy.layout import Layout


def register(app: typer.Typer) -> None:
    app.command("status")(status)


def status(name: NameOption = DEFAULT_NAME, output: OutputOption = "text") -> None:
    """Show every process with its pid, health, memory and CPU, and the state of the nodes."""
    from argosy.cli.chaos import as_report, show
    from deploy import launch
    from deploy.chaos import inject
    from deploy.layout import Layout

    as_json = check_output(output)
    layout = Layout(name)
    config = launch.current(layout)
    report = launch.status(layout)
    faults = inject.active(layout)
    report["faults"] = [as_report(fault) for fault in faults]
    _add_node_states(layout, config, report)
    if as_json:
        print(json.dumps(report, indent=1))
    else:
        _print(report)
        if faults:
            print()
            show(faults)


def _add_node_states(layout: Layout, config: ClusterConfig, report: dict[str, Any]) -> None:
    """Each node's `state` as the API has it; `Crashed` for one taken down, `Unknown` when the API does not answer.

    Where the control plane is, machines that joined are added.
    """
    import asyncio

    found: dict[str, JsonObject] = {}

    async def ask() -> None:
        from argosy.objects.status import ApiError
        from deploy import bring_up

        api = bring_up.client(layout, config)
        try:
            async with asyncio.timeout(3.0):
                for node in (await api.resource("", "v1", "nodes").list()).items:
                    found[node["metadata"]["name"]] = node
        except (ApiError, TimeoutError):
            pass
        finally:
            await api.close()

    asyncio.run(ask())
    for node in report["nodes"]:
        node["state"] = "Crashed" if node["crashed"] else _state(found.pop(node["name"], None))
    if config.has_control_plane and not config.is_on_lan:
        report["nodes"] += [_machine(node) for _, node in sorted(found.items())]


def _state(node: JsonObject | None) -> str:
    from deploy import bring_up

    if node is None:
        return "Unknown"
    return "Ready" if bring_up.is_ready(node) else "NotReady"


def _machine(node: JsonObject) -> dict[str, Any]:
    """A node that is another machine, as the report has nodes."""
    from argosy.objects.quantity import milli, value

    status = node.get("status") or {}
    capacity = status.get("capacity") or {}
    addresses = {item.get("type"): item.get("address") for item in status.get("addresses") or ()}
    return {
        "name": node["metadata"]["name"],
        "state": _state(node),
        "ip": addresses.get("InternalIP", ""),
        "cpus": milli(capacity.get("cpu", "0")) / 1000,
        "memory_bytes": value(capacity.get("memory", "0")),
        "crashed": False,
    }


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
    table(lines)
    print()
    nodes = [("NODE", "STATE", "ADDRESS", "CPUS", "MEMORY")]
    for node in report["nodes"]:
        memory = f"{node['memory_bytes'] / (1 << 20):.0f} MiB"
        nodes.append((node["name"], node["state"], node["ip"], f"{node['cpus']:g}", memory))
    table(nodes)


def table(lines: Sequence[tuple[str, ...]]) -> None:
    """Print lines of cells as columns; the first line is the head."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        print("   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
