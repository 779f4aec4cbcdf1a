"""`argosy node add|remove|crash|start`: machines come and go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from argosy.cli.options import DEFAULT_NAME, NameOption
from argosy.cli.progress import Progress

if TYPE_CHECKING:
    from deploy.cluster import ClusterConfig
    from deploy.layout import Layout

NodeArgument = Annotated[str, typer.Argument(help="The node's name.", metavar="NODE")]
READY_TIMEOUT_S = 60.0


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Add, remove, crash and start nodes.", no_args_is_help=True)
    for command in (add, remove, crash, start):
        group.command(command.__name__)(command)
    app.add_typer(group, name="node")


def add(
    node: Annotated[str, typer.Argument(help="Its name.", metavar="[NODE]")] = "",
    name: NameOption = DEFAULT_NAME,
    node_cpus: Annotated[float, typer.Option(help="CPUs; 0: the machine's.")] = 0.0,
    node_memory: Annotated[str, typer.Option(help="Memory, such as 4Gi; empty: its share.")] = "",
    node_disk: Annotated[str, typer.Option(help="A file system of its own, such as 8Gi; empty: the machine's.")] = "",
) -> None:
    """Add a node and wait until it is Ready."""
    from argosy.cli.starting import disk_size, node_size
    from deploy import launch
    from deploy.layout import Layout

    layout, progress = Layout(name), Progress()
    with launch.changing(layout):
        nodes = len(launch.current(layout).nodes)
        cpus, memory_bytes = node_size(node_cpus, node_memory, nodes + 1)
        disk_bytes = disk_size(node_disk, "--node-disk")
        node = launch.add_node(layout, node, cpus=cpus, memory_bytes=memory_bytes, disk_bytes=disk_bytes)
        launch.load_images(layout, launch.known_archives(layout), [node])
        with progress.step(f"node {node} is Ready"):
            _wait_ready(layout.name, node)


def remove(node: NodeArgument, name: NameOption = DEFAULT_NAME) -> None:
    """Stop a node and forget it: its Node object and its disk go too. Of a machine that joined, the Node object."""
    import asyncio

    from deploy import launch
    from deploy.layout import Layout

    layout, progress = Layout(name), Progress()
    config = launch.current(layout)
    if not config.has_control_plane:
        raise ValueError(f"`argosy down --name {name}` makes this machine leave the cluster")
    with progress.step(f"node {node} is removed"):
        if config.is_on_lan:
            with launch.changing(layout):
                launch.remove_node(layout, node)
            launch.await_removed(layout, node)
        else:
            asyncio.run(_delete_object(layout, config, node))


async def _delete_object(layout: Layout, config: ClusterConfig, node: str) -> None:
    from deploy import bring_up

    api = bring_up.client(layout, config)
    try:
        await bring_up.delete_node(api, node)
    finally:
        await api.close()


def crash(node: NodeArgument, name: NameOption = DEFAULT_NAME) -> None:
    """Cut a node's power: everything on it is gone at once, its disk stays."""
    from deploy import launch
    from deploy.layout import Layout

    layout, progress = Layout(name), Progress()
    with launch.changing(layout), progress.step(f"node {node} crashed"):
        launch.crash_node(layout, node)


def start(node: NodeArgument, name: NameOption = DEFAULT_NAME) -> None:
    """Switch a crashed node on again and wait until it is Ready."""
    from deploy import launch
    from deploy.layout import Layout

    layout, progress = Layout(name), Progress()
    with launch.changing(layout):
        launch.start_node(layout, node)
        with progress.step(f"node {node} is Ready"):
            _wait_ready(layout.name, node)


def _wait_ready(cluster: str, node: str) -> None:
    import asyncio

    from deploy import bring_up, launch
    from deploy.layout import Layout

    layout = Layout(cluster)
    config = launch.current(layout)

    async def wait() -> None:
        api = bring_up.client(layout, config)
        try:
            await bring_up.wait_nodes(api, [node], READY_TIMEOUT_S)
        finally:
            await api.close()

    asyncio.run(wait())
