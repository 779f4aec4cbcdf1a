"""What the cluster's DNS says of services, endpoints and pods."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.dns.records import Record, service_records
from control_plane.dns.zone import Answer, Outcome, Zone

DOMAIN = "cluster.local"


def service(name: str = "web", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "production", "name": name}, "spec": spec}


def piece(*endpoints: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "production", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": list(endpoints),
        **more,
    }


def zone(*found: Record) -> Zone:
    result = Zone(DOMAIN, lambda name: name == "production")
    result.set("production/web", found)
    return result


def said(answer: Answer) -> list[str]:
    return [record.value for record in answer.records]


CLUSTER_IP = service(
    clusterIP="10.96.0.80",
    clusterIPs=["10.96.0.80", "fd00::80"],
    ports=[{"name": "http", "port": 80}, {"port": 443}, {"name": "dns", "port": 53, "protocol": "UDP"}],
)


def test_cluster_ip_service() -> None:
    known = zone(*service_records(CLUSTER_IP, [], DOMAIN))
    assert said(known.ask("web.production.svc.cluster.local.", "A")) == ["10.96.0.80"]
    assert said(known.ask("WEB.Production.svc.Cluster.local", "AAAA")) == ["fd00::80"]
    srv = known.ask("_http._tcp.web.production.svc.cluster.local", "SRV")
    assert [(record.port, record.value) for record in srv.records] == [(80, "web.production.svc.cluster.local")]
    assert {record.value for record in srv.additional} == {"10.96.0.80", "fd00::80"}
    assert said(known.ask("_dns._udp.web.production.svc.cluster.local", "SRV")) == [
        "web.production.svc.cluster.local"
    ]
    assert said(known.ask("80.0.96.10.in-addr.arpa", "PTR")) == ["web.production.svc.cluster.local"]


def test_no_data_and_no_such_name_differ() -> None:
    known = zone(*service_records(CLUSTER_IP, [], DOMAIN))
    for name, kind in (
        ("web.production.svc.cluster.local", "MX"),
        ("_tcp.web.production.svc.cluster.local", "A"),
        ("production.svc.cluster.local", "A"),
        ("svc.cluster.local", "A"),
        ("cluster.local", "A"),
        ("pod.cluster.local", "A"),
        ("production.pod.cluster.local", "A"),
    ):
        assert known.ask(name, kind).outcome is Outcome.NODATA, name
    for name in (
        "nobody.production.svc.cluster.local",
        "web.nowhere.svc.cluster.local",
        "nowhere.svc.cluster.local",
        "web.production.svc.cluster.local.production.svc.cluster.local",
        "a.web.production.svc.cluster.local",
        "1-2-3-4.nowhere.pod.cluster.local",
        "hello.production.pod.cluster.local",
    ):
        assert known.ask(name, "A").outcome is Outcome.NXDOMAIN, name
    assert known.ask("example.org", "A").outcome is Outcome.ELSEWHERE
    assert known.ask("1.2.3.4.in-addr.arpa", "PTR").outcome is Outcome.ELSEWHERE
    assert known.ask("evilcluster.local", "A").outcome is Outcome.ELSEWHERE


def test_headless_service_names_each_endpoint() -> None:
    headless = service(clusterIP="None", ports=[{"name": "http", "port": 80}])
    slices = [
        piece(
            {"addresses": ["10.244.1.5"], "hostname": "web-0", "conditions": {"ready": True}},
            {"addresses": ["10.244.2.6"], "conditions": {"ready": True}},
            {"addresses": ["10.244.3.7"], "conditions": {"ready": False}},
        )
    ]
    known = zone(*service_records(headless, slices, DOMAIN))
    base = "web.production.svc.cluster.local"
    assert said(known.ask(base, "A")) == ["10.244.1.5", "10.244.2.6"]
    assert said(known.ask(f"web-0.{base}", "A")) == ["10.244.1.5"]
    assert said(known.ask(f"10-244-2-6.{base}", "A")) == ["10.244.2.6"]
    srv = known.ask(f"_http._tcp.{base}", "SRV")
    assert [(record.value, record.port) for record in srv.records] == [
        (f"web-0.{base}", 8080),
        (f"10-244-2-6.{base}", 8080),
    ]
    assert said(known.ask("5.1.244.10.in-addr.arpa", "PTR")) == [f"web-0.{base}"]
    assert known.ask("6.2.244.10.in-addr.arpa", "PTR").outcome is Outcome.ELSEWHERE
    everyone = service(clusterIP="None", publishNotReadyAddresses=True)
    assert len(zone(*service_records(everyone, slices, DOMAIN)).ask(base, "A").records) == 3


def test_external_name_is_an_alias_followed_within_the_zone() -> None:
    out = service("out", type="ExternalName", externalName="example.org.")
    known = zone(*service_records(out, [], DOMAIN))
    answer = known.ask("out.production.svc.cluster.local", "A")
    assert [(record.type, record.value) for record in answer.records] == [("CNAME", "example.org")]
    known.set("b", service_records(CLUSTER_IP, [], DOMAIN))
    inner = service("inner", type="ExternalName", externalName="web.production.svc.cluster.local")
    known.set("c", service_records(inner, [], DOMAIN))
    followed = known.ask("inner.production.svc.cluster.local", "A")
    assert [record.value for record in followed.records] == ["web.production.svc.cluster.local", "10.96.0.80"]
    loop = service("loop", type="ExternalName", externalName="loop.production.svc.cluster.local")
    known.set("d", service_records(loop, [], DOMAIN))
    assert known.ask("loop.production.svc.cluster.local", "A").outcome is Outcome.ANSWER


def test_pod_names_are_their_address() -> None:
    known = zone()
    assert said(known.ask("10-244-1-5.production.pod.cluster.local", "A")) == ["10.244.1.5"]
    assert known.ask("10-244-1-5.production.pod.cluster.local", "AAAA").outcome is Outcome.NODATA
    assert said(known.ask("fd00--5.production.pod.cluster.local", "AAAA")) == ["fd00::5"]


names = st.sampled_from(["a", "b", "x.a", "y.a", "_http._tcp.a"])
owned = st.lists(
    st.builds(
        lambda name, value: Record(f"{name}.production.svc.{DOMAIN}", "A", value),
        names,
        st.sampled_from(["10.0.0.1", "10.0.0.2"]),
    ),
    max_size=4,
    unique=True,
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["one", "two"]), owned), max_size=8))
def test_the_index_after_changes_is_the_index_built_anew(steps: list[tuple[str, list[Record]]]) -> None:
    changed = Zone(DOMAIN, lambda _: False)
    state: dict[str, list[Record]] = {}
    for owner, found in steps:
        changed.set(owner, found)
        state[owner] = found
    fresh = Zone(DOMAIN, lambda _: False)
    for owner, found in state.items():
        fresh.set(owner, found)
    for name in ("a", "b", "x.a", "y.a", "_tcp.a", "_http._tcp.a", ""):
        full = f"{name}.production.svc.{DOMAIN}".lstrip(".")
        one, two = changed.ask(full, "A"), fresh.ask(full, "A")
        assert (one.outcome, set(one.records)) == (two.outcome, set(two.records)), full
