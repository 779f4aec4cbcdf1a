"""`argosy server`: a control plane on this machine, for machines that join."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from argosy.cli import starting
from argosy.cli.options import DEFAULT_NAME, NameOption
from argosy.cli.progress import Progress

if TYPE_CHECKING:
    from deploy.cluster import ClusterConfig

DEFAULT_PORT = 6443


def register(app: typer.Typer) -> None:
    app.command("server")(server)


def server(
    name: NameOption = DEFAULT_NAME,
    advertise_address: Annotated[
        str, typer.Option(help="This machine's address for the others. [default: of its default route]")
    ] = "",
    stores: Annotated[int | None, typer.Option(help="Store members: 1, 3 or 5. [default: 1]")] = None,
    etcd_servers: Annotated[str, typer.Option(help="URLs of an etcd cluster to use as the store.")] = "",
    etcd_ca: Annotated[str, typer.Option(help="PEM file: the authority of an https --etcd-servers.")] = "",
    etcd_certificate: Annotated[str, typer.Option(help="PEM file: the certificate shown to it.")] = "",
    etcd_key: Annotated[str, typer.Option(help="PEM file: the certificate's key.")] = "",
    port: Annotated[int | None, typer.Option(help="The API's port; the next one is gRPC's. [default: 6443]")] = None,
    flag: Annotated[list[str] | None, typer.Option(help="PROCESS:--flag=value, passed on; more than once.")] = None,
) -> None:
    """Start a control plane on this machine, and say how other machines join it."""
    from deploy import cluster, external_store, launch, preflight
    from deploy.layout import Layout

    preflight.check_root()
    layout, progress = Layout(name), Progress()
    files = external_store.Files(etcd_ca, etcd_certificate, etcd_key)
    with launch.changing(layout):
        existing = cluster.load(layout)
        preflight.check_server()
        if existing is None:
            config = _new_config(
                name,
                advertise_address,
                stores=1 if stores is None else stores,
                etcd_servers=etcd_servers,
                port=DEFAULT_PORT if port is None else port,
                flags=starting.flags(flag or []),
            )
            external_store.check(config.etcd_servers, files, uplink=True)
            config = replace(config, etcd_identity=bool(etcd_certificate))
            preflight.check_server_ports(config)
        else:
            _check_same(existing, advertise_address, stores=stores, port=port)
            config = existing
        starting.start(layout, config, progress, files)
        starting.wait(layout, config, progress)
    from argosy.cli.token import join_command, make

    print(f"Cluster {name!r} has its control plane on this machine. On each machine that is to be a node:")
    print(f"    {join_command(config, make(layout, config))}")
    print(f"The token ends after a day; `argosy token create{starting.which(name)}` makes another.")


def _new_config(
    name: str, address: str, *, stores: int, etcd_servers: str, port: int, flags: dict[str, list[str]]
) -> ClusterConfig:
    """Raises ValueError, NoAddress."""
    from deploy import machine
    from deploy.cluster import ClusterConfig

    external = tuple(url for url in etcd_servers.split(",") if url)
    starting.check_stores(stores, external)
    if not 0 < port < 65_535:
        raise ValueError(f"--port {port}: between 1 and 65534, as the port after it is taken too")
    try:
        address = address or machine.own_address()
    except machine.NoAddress as error:
        raise machine.NoAddress(f"{error}; give its address with --advertise-address") from None
    return ClusterConfig(
        name,
        stores=0 if external else stores,
        port=port,
        etcd_servers=external,
        address=machine.check_address(address, "--advertise-address"),
        flags=flags,
    )


def _check_same(existing: ClusterConfig, address: str, *, stores: int | None, port: int | None) -> None:
    """A control plane that is there is not changed by other flags. Raises ValueError saying how it can be."""
    which = starting.which(existing.name)
    if existing.is_on_lan:
        raise ValueError(
            f"`argosy up` made a cluster {existing.name!r} on this machine; "
            f"`argosy down{which}` first, or another --name"
        )
    if not existing.has_control_plane:
        raise ValueError(
            f"this machine is node {existing.nodes[0].name} of a cluster that it calls {existing.name!r}; "
            f"`argosy down{which}` first, or another --name"
        )
    asked = {"advertise-address": address or None, "stores": stores, "port": port}
    there = {"advertise-address": existing.address, "stores": existing.stores, "port": existing.port}
    for key, value in asked.items():
        if value is not None and value != there[key]:
            raise ValueError(
                f"cluster {existing.name!r} is there with --{key} {there[key]}, not {value}; "
                f"`argosy down{which}` first, or another --name"
            )
