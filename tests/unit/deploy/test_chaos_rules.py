"""From faults to rules, rates and delays: pure."""

from __future__ import annotations

from argosy.host import SeededRng
from deploy.chaos import controls, links, rules
from deploy.chaos.delay_line import DelayLine
from deploy.chaos.fault import Fault
from deploy.chaos.links import Shape, Way
from deploy.chaos.rules import Wires

NUMBERS = {"etcd-1": 1, "etcd-2": 2, "cp-1": 3, "node-1": 4}
PORTS = {name: f"v-{name}" for name in NUMBERS}


def chains(wires: Wires, ports: dict[str, str] = PORTS) -> dict[str, list[str]]:
    """The rules of a script by chain, the device first."""
    result: dict[str, list[str]] = {}
    for line in rules.script(ports, NUMBERS, wires).splitlines():
        words = line.split()
        if words[0] == "chain":
            result[words[1]] = []
        elif line.startswith("    type"):
            result[list(result)[-1]].append(words[5].strip('"'))
        elif line.startswith("    "):
            result[list(result)[-1]].append(line.strip())
    return result


def test_a_cut_is_by_who_sent_it() -> None:
    fault = Fault("partition", settings={"groups": [["etcd-1"], ["etcd-2", "node-1"]], "one_way": False})
    assert chains(links.wires_of([fault])) == {
        "from_1": ["v-etcd-1", "meta mark set 0xc4a001"],
        "to_1": ["v-etcd-1", "meta mark { 0xc4a002, 0xc4a004 } drop"],
        "from_2": ["v-etcd-2", "meta mark set 0xc4a002"],
        "to_2": ["v-etcd-2", "meta mark { 0xc4a001 } drop"],
        "from_4": ["v-node-1", "meta mark set 0xc4a004"],
        "to_4": ["v-node-1", "meta mark { 0xc4a001 } drop"],
    }


def test_one_way_and_members_that_are_not_there() -> None:
    fault = Fault("partition", settings={"groups": [["node-1"], ["cp-1"]], "one_way": True})
    wires = links.wires_of([fault])
    assert chains(wires) == {
        "from_4": ["v-node-1", "meta mark set 0xc4a004"],
        "to_3": ["v-cp-1", "meta mark { 0xc4a004 } drop"],
    }
    assert "from_4" not in chains(wires, {"cp-1": "v-cp-1"})
    nothing = rules.script(PORTS, NUMBERS, Wires())
    assert nothing.splitlines() == ["table netdev argosy_chaos", "delete table netdev argosy_chaos"]


def test_losses_add_to_cuts() -> None:
    settings = {"percent": 12.5, "members": ["node-1"], "others": [], "one_way": False}
    some = {"percent": 100, "members": ["etcd-1"], "others": ["cp-1"], "one_way": True}
    found = chains(links.wires_of([Fault("loss", settings=settings), Fault("loss", settings=some)]))
    lose = "numgen random mod 10000 < 1250 drop"
    assert found == {
        "from_1": ["v-etcd-1", "meta mark set 0xc4a001"],
        "to_3": ["v-cp-1", "meta mark 0xc4a001 drop"],
        "from_4": ["v-node-1", "meta mark set 0xc4a004", lose],
        "to_4": ["v-node-1", lose],
    }


def test_a_relay_has_the_cable_to_itself() -> None:
    fault = Fault("partition", settings={"groups": [["node-1"], ["cp-1"]], "one_way": True})
    wires = links.wires_of([fault])
    relayed = Wires(wires.cuts, (), {"node-1": "v-node-1"})
    found = chains(relayed, {**PORTS, "node-1": "d-node-1"})
    assert found["from_4"][0] == "d-node-1"
    assert found["away_4"] == ["v-node-1", "drop"]


def test_delays_add_up_and_the_lowest_rate_counts() -> None:
    faults = [
        Fault("delay", settings={"members": ["node-1"], "delay_ms": 20.0, "jitter_ms": 2.0, "one_way": False}),
        Fault("delay", settings={"members": ["node-1"], "delay_ms": 5.0, "jitter_ms": 0.0, "one_way": True}),
        Fault("rate", settings={"members": ["node-1", "cp-1"], "bits_per_s": 9000, "one_way": False}),
        Fault("rate", settings={"members": ["node-1"], "bits_per_s": 8000, "one_way": True}),
    ]
    assert links.shapes_of(faults) == {
        "node-1": Shape(Way(25.0, 2.0, 8000), Way(20.0, 2.0, 9000)),
        "cp-1": Shape(Way(bits_per_s=9000), Way(bits_per_s=9000)),
    }


def test_queueing_disciplines() -> None:
    way = Way(25, 2.5, 8_000_000)
    assert " ".join(links.qdisc(way, netem=True)) == "netem delay 25ms 2.5ms rate 8000000bit"
    assert " ".join(links.qdisc(way, netem=False)) == "tbf rate 8000000bit burst 65536b latency 400ms"
    assert " ".join(links.qdisc(Way(25), netem=True)) == "netem delay 25ms"
    assert links.qdisc(Way(25), netem=False) == links.qdisc(Way(), netem=True) == []


def test_each_process_gets_its_own_controls() -> None:
    faults = [
        Fault("skew-clock", settings={"controlled": ["etcd-1", "etcd-2"], "skew_s": 60.0}),
        Fault("skew-clock", settings={"controlled": ["etcd-1"], "skew_s": -10.0}),
        Fault("slow-disk", settings={"controlled": ["etcd-2"], "sync_ms": 250.0}),
        Fault("fill-disk", settings={"controlled": ["etcd-2"], "percent": 100}),
    ]
    assert controls.of("etcd-1", faults) == controls.Controls(skew_s=50.0)
    assert controls.of("etcd-2", faults) == controls.Controls(60.0, 0.25, True)
    assert controls.of("etcd-3", faults) == controls.Controls()


def test_frames_come_out_late_in_order_and_bounded() -> None:
    line = DelayLine(0.1, 0.05, SeededRng(1), max_bytes=1000)
    for number in range(200):
        line.push(b"%03d" % number * 3, number / 1000)
    assert line.lost == 200 - 1000 // 9
    out: list[tuple[float, bytes]] = []
    while (when := line.next_s()) is not None:
        out += [(when, frame) for frame in line.pop_due(when)]
    assert [frame for _, frame in out] == [b"%03d" % number * 3 for number in range(len(out))]
    assert all(0.05 <= when - number / 1000 <= 0.15 + 0.001 for number, (when, _) in enumerate(out))
    assert line.held_bytes == 0 and list(line.pop_due(1e9)) == []
