"""`argosy token create|list|delete`: by what machines join, on the machine of the control plane."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from argosy.cli.options import DEFAULT_NAME, NameOption

if TYPE_CHECKING:
    from deploy.cluster import ClusterConfig
    from deploy.layout import Layout
    from deploy.tokens import JoinToken, Known

DAY_S = 86_400.0


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Tokens by which machines join.", no_args_is_help=True)
    group.command("create")(create)
    group.command("list")(list_)
    group.command("delete")(delete)
    app.add_typer(group, name="token")


def create(
    name: NameOption = DEFAULT_NAME,
    ttl: Annotated[str, typer.Option(help="How long it is good, such as 2h30m; 0: until it is deleted.")] = "24h",
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
) -> None:
    """Make a token and print the command by which a machine joins."""
    layout, config = _server(name)
    print(join_command(config, make(layout, config, ttl_s=_seconds(ttl), description=description)))


def list_(name: NameOption = DEFAULT_NAME) -> None:
    """Show the tokens there are, without their secrets."""
    import asyncio

    from deploy import bring_up, tokens

    layout, config = _server(name)

    async def ask() -> list[Known]:
        api = bring_up.client(layout, config)
        try:
            return await tokens.known(api)
        finally:
            await api.close()

    from argosy.cli.status import table
    from argosy.host import RealClock

    now_s = RealClock().now()
    lines = [("TOKEN", "LEFT", "DESCRIPTION")]
    lines += [(item.token_id, _left(item.expires_s, now_s), item.description or "-") for item in asyncio.run(ask())]
    table(lines)


def delete(
    token: Annotated[str, typer.Argument(help="Its ID, or the whole token.")], name: NameOption = DEFAULT_NAME
) -> None:
    """Make a token good for nothing; machines that joined by it stay."""
    import asyncio

    from deploy import bring_up, tokens

    layout, config = _server(name)

    async def act() -> None:
        api = bring_up.client(layout, config)
        try:
            await tokens.delete(api, token)
        finally:
            await api.close()

    asyncio.run(act())
    print(f"Token {token.partition('.')[0]} is deleted.")


def make(layout: Layout, config: ClusterConfig, *, ttl_s: float = DAY_S, description: str = "") -> JoinToken:
    """A new token. Raises ApiError."""
    import asyncio

    from argosy.host import real_host
    from deploy import bring_up, tokens

    with open(f"{layout.pki}/ca.crt", "rb") as file:
        authority = file.read()

    async def act() -> JoinToken:
        api = bring_up.client(layout, config)
        try:
            return await tokens.create(api, real_host(), authority, ttl_s=ttl_s, description=description)
        finally:
            await api.close()

    return asyncio.run(act())


def join_command(config: ClusterConfig, token: JoinToken) -> str:
    """What is typed on a machine that joins."""
    return f"argosy join {config.address}:{config.port} --token {token}"


def _server(name: str) -> tuple[Layout, ClusterConfig]:
    """Raises ValueError where machines cannot join."""
    from deploy import launch
    from deploy.layout import Layout

    layout = Layout(name)
    config = launch.current(layout)
    if config.is_on_lan:
        raise ValueError(f"cluster {name!r} is within this machine: machines join one that `argosy server` started")
    if not config.has_control_plane:
        raise ValueError(f"this machine is a node of {name!r}: tokens are made on the machine of the control plane")
    return layout, config


def _seconds(ttl: str) -> float:
    """Raises ValueError."""
    from argosy.objects import durations

    seconds = durations.parse_go(ttl)
    if seconds < 0:
        raise ValueError(f"--ttl {ttl}: a token cannot end before it begins")
    return seconds


def _left(expires_s: float | None, now_s: float) -> str:
    from argosy.objects import durations

    if expires_s is None:
        return "for ever"
    return "expired" if expires_s <= now_s else durations.human(expires_s - now_s)
