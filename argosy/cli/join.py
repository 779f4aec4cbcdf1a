"""`argosy join`: this machine becomes a node of a control plane elsewhere."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Annotated

import typer

from argosy.cli import starting
from argosy.cli.options import DEFAULT_NAME, own_name
from argosy.cli.progress import Progress

if TYPE_CHECKING:
    from deploy.cluster import ClusterConfig
    from deploy.joining import Identity
    from deploy.layout import Layout
    from deploy.tokens import JoinToken


def register(app: typer.Typer) -> None:
    app.command("join")(join)


def join(
    server: Annotated[str, typer.Argument(help="The control plane's address.", metavar="HOST:PORT")],
    token: Annotated[str, typer.Option(help="As `argosy server` or `argosy token create` printed it.")],
    name: Annotated[str, typer.Option("--name", help="What this machine calls the cluster.")] = DEFAULT_NAME,
    node_name: Annotated[str, typer.Option(help="The node's name. [default: the host name]")] = "",
    node_ip: Annotated[
        str, typer.Option(help="This machine's address for the others. [default: of its route to the server]")
    ] = "",
    node_cpus: Annotated[float, typer.Option(help="CPUs of the node; 0: the machine's.")] = 0.0,
    node_memory: Annotated[str, typer.Option(help="Memory of the node, such as 4Gi; empty: the machine's.")] = "",
    proxy_mode: Annotated[str, typer.Option(help="How services are routed: iptables or nftables.")] = "iptables",
    registry: Annotated[list[str] | None, typer.Option(help="HOST=URL: where images of HOST come from.")] = None,
    flag: Annotated[list[str] | None, typer.Option(help="PROCESS:--flag=value, passed on; more than once.")] = None,
) -> None:
    """Make this machine a node of the cluster whose control plane is at HOST:PORT."""
    from deploy import cleanup, joining, launch, machine, preflight, tokens
    from deploy.layout import Layout

    preflight.check_root()
    layout, progress = Layout(name), Progress()
    address = joining.parse_server(server)
    parsed = tokens.parse(token)
    starting.check_proxy_mode(proxy_mode)
    starting.check_registries(tuple(registry or ()))
    further, size = starting.flags(flag or []), starting.node_size(node_cpus, node_memory, 1)
    node = _node_name(node_name)
    with launch.changing(layout):
        _check_new(layout)
        preflight.check(uplink=False)
        ip = machine.check_address(node_ip or machine.own_address(towards=address[0]), "--node-ip")
        preflight.check_node_network(ip)
        with progress.step(f"{server} admits node {node}"):
            identity = _admitted(address, parsed, node, ip)
        config = _config(name, node, ip, size, proxy_mode, tuple(registry or ()), further, identity)
        try:
            joining.write(layout, node, identity)
            starting.start(layout, config, progress)
        except BaseException:
            cleanup.remove(layout)
            raise
        starting.wait(layout, config, progress)
    which = starting.which(name)
    print(f"This machine is node {node!r} after {progress.total_s():.1f} s.")
    print(f"    {own_name()} status{which}    # its processes")
    print(f"    {own_name()} down{which}    # it leaves; then `kubectl delete node {node}` forgets it")


def _node_name(asked: str) -> str:
    """Raises ValueError."""
    from deploy.layout import check_name

    if asked:
        return check_name(asked)
    found = socket.gethostname().partition(".")[0].lower()
    try:
        return check_name(found)
    except ValueError:
        raise ValueError(f"this machine's name, {found!r}, cannot be a node's; give one with --node-name") from None


def _check_new(layout: Layout) -> None:
    """Raises ValueError when this machine has something of that name."""
    from deploy import cleanup, cluster, launch

    existing = cluster.load(layout)
    which = starting.which(layout.name)
    if existing is None:
        if cleanup.exists(layout):
            raise ValueError(f"there are remains of a cluster {layout.name!r}; `argosy down{which}` removes them")
        return
    if existing.has_control_plane:
        raise ValueError(f"this machine has a control plane called {layout.name!r}; give the node another --name")
    start_it = "" if launch.is_running(layout) else f" `argosy up{which}` starts it;"
    raise ValueError(
        f"this machine has joined already, as node {existing.nodes[0].name};{start_it} "
        f"`argosy down{which}` makes it leave"
    )


def _admitted(server: tuple[str, int], token: JoinToken, node: str, node_ip: str) -> Identity:
    """Raises JoinError, DiscoveryError."""
    import asyncio

    from argosy.host import real_host
    from argosy.http import StreamHttp
    from deploy import joining

    return asyncio.run(joining.join(StreamHttp(), real_host().clock, server, token, node, node_ip))


def _config(
    name: str,
    node: str,
    ip: str,
    size: tuple[float, int],
    proxy_mode: str,
    registries: tuple[str, ...],
    flags: dict[str, list[str]],
    identity: Identity,
) -> ClusterConfig:
    from deploy.cluster import ClusterConfig, NodeConfig

    info = identity.info
    return ClusterConfig(
        name,
        stores=0,
        apiservers=0,
        nodes=(NodeConfig(node, 1, *size),),
        proxy_mode=proxy_mode,
        registries=registries,
        api_servers=info.grpc_servers,
        address=ip,
        cluster_cidr=info.cluster_cidr,
        cluster_dns=info.cluster_dns,
        cluster_domain=info.cluster_domain,
        flags=flags,
    )
