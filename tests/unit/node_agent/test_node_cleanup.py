"""What a node added to its machine's network goes; what others have stays."""

from __future__ import annotations

from node_agent.cleanup import without_mappings

SHARED = """*nat
:PREROUTING ACCEPT [0:0]
:CNI-DN-aaaa - [0:0]
:CNI-HOSTPORT-DNAT - [0:0]
:CNI-HOSTPORT-MASQ - [0:0]
:CNI-HOSTPORT-SETMARK - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A POSTROUTING -m comment --comment "CNI portfwd requiring masquerade" -j CNI-HOSTPORT-MASQ
-A CNI-DN-aaaa -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.244.0.4:80
"""
OURS = (
    '-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \\"argosy\\" id: \\"1\\"" '
    "-m multiport --dports 80 -j CNI-DN-aaaa\n"
)
THEIRS = (
    '-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \\"podman\\" id: \\"2\\"" '
    "-m multiport --dports 81 -j CNI-DN-bbbb\n"
)


def test_the_last_mapping_takes_the_shared_chains_along() -> None:
    lines = without_mappings(SHARED + OURS).splitlines()
    assert lines[0] == "*nat" and lines[-1] == "COMMIT"
    for chain in ("CNI-DN-aaaa", "CNI-HOSTPORT-DNAT", "CNI-HOSTPORT-MASQ", "CNI-HOSTPORT-SETMARK"):
        assert f":{chain} - [0:0]" in lines and f"-X {chain}" in lines
    assert "-D PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT" in lines
    assert any(line.startswith("-D POSTROUTING") and line.endswith("CNI-HOSTPORT-MASQ") for line in lines)


def test_another_networks_mappings_stay() -> None:
    lines = without_mappings(SHARED + OURS + THEIRS).splitlines()
    assert "-X CNI-DN-aaaa" in lines and "-D" + OURS[2:].rstrip() in lines
    assert not any("bbbb" in line or "-X CNI-HOSTPORT" in line or "-D PREROUTING" in line for line in lines)


def test_without_mappings_of_ours_nothing_is_done() -> None:
    assert without_mappings("") == without_mappings(SHARED + THEIRS) == ""
