"""`argosy chaos …`: faults of a running cluster, and healing them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from argosy.cli.options import DEFAULT_NAME, NameOption, OutputOption, check_output

if TYPE_CHECKING:
    from deploy.chaos.fault import Fault
    from deploy.chaos.schedule import Step

Targets = Annotated[list[str], typer.Argument(help="Components as `argosy status` names them.", metavar="COMPONENT…")]
ForOption = Annotated[str, typer.Option("--for", help="Heal by itself after this long, such as 10s or 1m30s.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
OneWayOption = Annotated[bool, typer.Option("--one-way", help="Only what the components named first send.")]

_RATE = re.compile(r"(\d+(?:\.\d+)?)(k|m|g)?bit", re.IGNORECASE)
_FACTORS = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Break something of a running cluster, and heal it.", no_args_is_help=True)
    commands: dict[str, Callable[..., None]] = {
        "kill": kill,
        "pause": pause,
        "restart": restart,
        "partition": partition,
        "loss": loss,
        "delay": delay,
        "rate": rate,
        "fill-disk": fill_disk,
        "slow-disk": slow_disk,
        "skew-clock": skew_clock,
        "random": random,
        "status": status,
        "heal": heal,
    }
    for name, command in commands.items():
        group.command(name)(command)
    app.add_typer(group, name="chaos")


def kill(
    targets: Targets,
    hold: Annotated[bool, typer.Option("--hold", help="It is not started again until it is healed.")] = False,
    for_: ForOption = "",
    dry_run: DryRunOption = False,
    name: NameOption = DEFAULT_NAME,
) -> None:
    """Kill processes (kill -9), or cut the power of nodes; with --hold or --for they stay down."""
    _inject(name, "kill", targets, {"hold": hold}, for_, dry_run)


def pause(
    targets: Targets, for_: ForOption = "", dry_run: DryRunOption = False, name: NameOption = DEFAULT_NAME
) -> None:
    """Stop processes, or everything on a node, where they are (SIGSTOP); healing lets them go on."""
    _inject(name, "pause", targets, {}, for_, dry_run)


def restart(targets: Targets, dry_run: DryRunOption = False, name: NameOption = DEFAULT_NAME) -> None:
    """End processes or nodes in order (SIGTERM); they are started again at once."""
    _inject(name, "restart", targets, {}, "", dry_run)


def partition(
    targets: Annotated[list[str] | None, typer.Argument(help="Who is cut off.", metavar="[COMPONENT…]")] = None,
    from_: Annotated[list[str] | None, typer.Option("--from", help="From whom; without: from all others.")] = None,
    groups: Annotated[str, typer.Option(help="Groups that do not reach each other: a,b:c:d.")] = "",
    one_way: OneWayOption = False,
    for_: ForOption = "",
    dry_run: DryRunOption = False,
    name: NameOption = DEFAULT_NAME,
) -> None:
    """Cut members of the LAN off each other. Components that share a link (cp-1) are cut off together."""
    if bool(groups) == bool(targets):
        raise ValueError("either components, with or without --from, or --groups a,b:c")
    if groups and from_:
        raise ValueError("--from goes with components, not with --groups")
    others = [part for item in from_ or () for part in item.split(",") if part]
    parts = [[part for part in group.split(",") if part] for group in groups.split(":")] if groups else [targets]
    if groups and len(parts) < 2:
        raise ValueError(f"--groups {groups}: two at least, such as etcd-1:etcd-2,etcd-3")
    if groups and not all(parts):
        raise ValueError(f"--groups {groups}: a group is empty")
    if from_ and not others:
        raise ValueError(f"--from {','.join(from_)}: nobody is named; without --from it is from all others")
    settings = {"groups": [*parts, *([others] if others else [])], "one_way": one_way}
    _inject(name, "partition", [], settings, for_, dry_run)


def loss(
    targets: Targets,
    percent: Annotated[float, typer.Option(help="Of the packets.")],
    with_: Annotated[list[str] | None, typer.Option("--with", help="Only between these and those.")] = None,
    one_way: OneWayOption = False,
    for_: ForOption = "",
    dry_run: DryRunOption = False,
    name: NameOption = DEFAULT_NAME,
) -> None:
    """Lose packets of members' links at random."""
    settings = {"percent": percent, "others": with_ or [], "one_way": one_way}
    _inject(name, "loss", targets, settings, for_, dry_run)


def delay(
    targets: Targets,
    by: Annotated[str, typer.Option(help="In each direction, such as 50ms.")],
    jitter: Annotated[str, typer.Option(help="Give or take, such as 5ms.")] = "",
    one_way: OneWayOption = False,
    for_: ForOption = "",
    dry_run: DryRunOption = False,
    name: NameOption = DEFAULT_NAME,
) -> None:
    """Make what members send and get take longer."""
    settings = {
        "delay_ms": _seconds(by, "--by") * 1000,
        "jitter_ms": _seconds(jitter, "--jitter") * 1000 if jitter else 0.0,
        "one_way": one_way,
    }
    _inject(name, "delay", targets, settings, for_, dry_run)


def rate(
    targets: Targets,
    to: Annotated[str, typer.Option(help="Such as 512kbit or 10mbit.")],
    one_way: OneWayOption = False,
    for_: ForOption = "",
    dry_run: DryRunOption = False,
    name: NameOption = DEFAULT_NAME,
) -> None:
    """Narrow members' links."""
    match = _RATE.fullmatch(to)
    if match is None:
        raise ValueError(f"--to {to}: a rate such as 512kbit, 10mbit or 1gbit")
    bits_per_s = int(float(match.group(1)) * _FACTORS[(match.group(2) or "").lower()])
    _inject(name, "rate", targets, {"bits_per_s": bits_per_s, "one_way": one_way}, for_, dry_run)


def fill_disk(
    targets: Targets,
    percent: Annotated[float, typer.Option(help="How full.")] = 100.0,
    for_: ForOption = "",
    dry_run: DryRunOption = False,
    name: NameOption = DEFAULT_NAME,
) -> None:
    """Fill the disk of store members, or of nodes that have one of their own (`argosy up --node-disk`)."""
    _inject(name, "fill-disk", targets, {"percent": percent}, for_, dry_run)


def slow_disk(
    targets: Targets,
    by: Annotated[str, typer.Option(help="What each sync takes longer, such as 200ms.")],
    for_: ForOption = "",
    dry_run: DryRunOption = False,
    name: NameOption = DEFAULT_NAME,
) -> None:
    """Make store members' syncs to disk slow."""
    _inject(name, "slow-disk", targets, {"sync_ms": _seconds(by, "--by") * 1000}, for_, dry_run)


def skew_clock(
    targets: Targets,
    by: Annotated[str, typer.Option(help="Such as 5m, or -90s for a clock that is slow.")],
    for_: ForOption = "",
    dry_run: DryRunOption = False,
    name: NameOption = DEFAULT_NAME,
) -> None:
    """Set the wall clock of processes, or of a node's processes, wrong."""
    _inject(name, "skew-clock", targets, {"skew_s": _seconds(by, "--by")}, for_, dry_run)


def random(
    seed: Annotated[int, typer.Option(help="The same seed makes the same schedule.")],
    duration: Annotated[str, typer.Option(help="How long it goes on.")] = "60s",
    faults: Annotated[int, typer.Option(help="How many; 0: one in 6 seconds.")] = 0,
    kinds: Annotated[str, typer.Option(help="Only these, comma-separated. [default: all but fill-disk]")] = "",
    exclude: Annotated[
        list[str] | None, typer.Option(help="Nothing is done to this component, node or kind (etcd).")
    ] = None,
    allow_quorum_loss: Annotated[
        bool, typer.Option("--allow-quorum-loss", help="Hurt as many store members, API servers and nodes as drawn.")
    ] = False,
    dry_run: DryRunOption = False,
    output: OutputOption = "text",
    name: NameOption = DEFAULT_NAME,
) -> None:
    """Inject random faults on a schedule made from a seed, which is printed, and heal them."""
    from deploy.chaos import inject, running, schedule
    from deploy.layout import Layout

    as_json = check_output(output)
    site = inject.site_of(Layout(name))
    options = schedule.Options(
        _seconds(duration, "--duration"),
        faults,
        tuple(part for part in kinds.split(",") if part) or schedule.USUAL,
        tuple(part for item in exclude or () for part in item.split(",") if part),
        not allow_quorum_loss,
    )
    steps = schedule.plan(seed, list(site.components.values()), options)
    if as_json:
        print(json.dumps({"seed": seed, "steps": [_step(step) for step in steps]}, indent=1), flush=True)
    else:
        print(f"Seed {seed}, {len(steps)} faults in {options.duration_s:g} s:")
        for step in steps:
            print(running.line(step), flush=True)
    if dry_run:
        return
    try:
        running.run(site, steps, lambda text: print(text, flush=True) if not as_json else None)
    except KeyboardInterrupt:
        print("Cut short; its faults are healed.")
    else:
        print("Over; its faults are healed.") if not as_json else None


def _step(step: Step) -> dict[str, Any]:
    return {
        "at_s": step.at_s,
        "for_s": step.for_s,
        "kind": step.fault.kind,
        "targets": list(step.fault.targets),
        "settings": dict(step.fault.settings),
    }


def status(name: NameOption = DEFAULT_NAME, output: OutputOption = "text") -> None:
    """Show the faults that are in force."""
    from deploy.chaos import inject
    from deploy.layout import Layout

    as_json = check_output(output)
    found = inject.active(inject.site_of(Layout(name)).layout)
    if as_json:
        print(json.dumps({"faults": [as_report(fault) for fault in found]}, indent=1))
    elif found:
        show(found)
    else:
        print("No fault is in force.")


def as_report(fault: Fault) -> dict[str, Any]:
    """A fault as `-o json` has it."""
    from argosy.host import RealClock, rfc3339
    from deploy.chaos.kinds import kind_of

    left_s = max(0.0, fault.until_s - RealClock().monotonic()) if fault.until_s else None
    return {
        "id": fault.id,
        "kind": fault.kind,
        "what": kind_of(fault.kind).describe(fault),
        "since": rfc3339(fault.begun_s),
        "heals_in_s": None if left_s is None else round(left_s, 1),
    }


def show(faults: list[Fault]) -> None:
    from argosy.cli.status import table

    lines = [("FAULT", "KIND", "SINCE", "HEALS", "WHAT")]
    for item in map(as_report, faults):
        left_s = item["heals_in_s"]
        heals = f"`argosy chaos heal {item['id']}`" if left_s is None else f"in {left_s:.0f} s"
        lines.append((item["id"], item["kind"], item["since"], heals, item["what"]))
    table(lines)


def heal(
    ids: Annotated[list[str] | None, typer.Argument(help="Which; all without.", metavar="[FAULT…]")] = None,
    name: NameOption = DEFAULT_NAME,
) -> None:
    """Heal faults: those named by their number in `argosy chaos status`, or all."""
    from deploy.chaos import inject
    from deploy.chaos.kinds import kind_of
    from deploy.layout import Layout

    healed = inject.heal(inject.site_of(Layout(name)), ids or ())
    for fault in healed:
        print(f"Healed: {kind_of(fault.kind).describe(fault)}.")
    if not healed:
        print("No fault is in force.")


def _inject(name: str, kind: str, targets: list[str], settings: dict[str, Any], for_: str, dry_run: bool) -> None:
    from deploy.chaos import inject
    from deploy.chaos.fault import Fault
    from deploy.chaos.kinds import kind_of
    from deploy.layout import Layout

    for_s = _seconds(for_, "--for") if for_ else 0.0
    site = inject.site_of(Layout(name))
    fault = Fault(kind, tuple(targets), settings)
    if dry_run:
        checked = inject.checked(site, fault, for_s)
        print(f"Would be: {kind_of(kind).describe(checked)}{f', for {for_s:g} s' if for_s else ''}.")
        for step in kind_of(kind).steps(site, checked):
            print(f"  {step}")
        return
    fault = inject.inject(site, fault, for_s)
    print(f"{f'Fault {fault.id}: ' if fault.id else ''}{kind_of(kind).describe(fault)}.")
    if fault.id:
        print(f"It heals after {for_s:g} s." if for_s else f"`argosy chaos heal {fault.id}` heals it.")


def _seconds(text: str, flag: str) -> float:
    """Raises ValueError."""
    from argosy.objects import durations

    try:
        return durations.parse_go(text)
    except ValueError:
        raise ValueError(f"{flag} {text}: a duration such as 10s, 200ms or 1m30s") from None
