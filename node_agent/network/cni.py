"""The node's CNI configuration: pods on a bridge, addresses from the node's pod range, host ports.

The runtime's CNI plugins do the work (bridge, host-local, portmap); this file only says how, once the node's range
is known. Service routing is the proxy's, addresses leave the node unmasked.
"""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Sequence

from argosy.objects.types import JsonObject

FILE_NAME = "10-argosy.conflist"
NETWORK_NAME = "argosy"
BRIDGE = "cni0"


def conflist(pod_cidrs: Sequence[str], data_dir: str, mtu: int) -> JsonObject:
    """Raises ValueError for a malformed range."""
    networks = [ipaddress.ip_network(cidr) for cidr in pod_cidrs]
    routes = [{"dst": "0.0.0.0/0" if network.version == 4 else "::/0"} for network in networks]
    bridge: JsonObject = {
        "type": "bridge",
        "bridge": BRIDGE,
        "isGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "dataDir": data_dir,
            "ranges": [[{"subnet": str(network)}] for network in networks],
            "routes": routes,
        },
    }
    if mtu:
        bridge["mtu"] = mtu
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}
    return {"cniVersion": "0.4.0", "name": NETWORK_NAME, "plugins": [bridge, portmap]}


def write(conf_dir: str, content: JsonObject) -> bool:
    """Replace the configuration at once; whether it changed. Raises OSError."""
    text = json.dumps(content, indent=2) + "\n"
    path = os.path.join(conf_dir, FILE_NAME)
    try:
        with open(path, encoding="utf-8") as file:
            if file.read() == text:
                return False
    except FileNotFoundError:
        pass
    os.makedirs(conf_dir, mode=0o755, exist_ok=True)
    temporary = path + ".tmp"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
    os.rename(temporary, path)
    return True


def leases(data_dir: str) -> dict[str, str]:
    """Sandbox id by address, as host-local holds them."""
    folder = os.path.join(data_dir, NETWORK_NAME)
    found: dict[str, str] = {}
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return found
    for name in names:
        try:
            ipaddress.ip_address(name)
        except ValueError:
            continue
        with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as file:
            lines = file.read(4096).split()
        found[name] = lines[0] if lines else ""
    return found


def release(data_dir: str, sandbox_ids: Sequence[str]) -> list[str]:
    """Free what is held for sandboxes that are no more; gives the addresses. Raises OSError."""
    alive = dict.fromkeys(sandbox_ids)
    gone = [address for address, owner in leases(data_dir).items() if owner not in alive]
    for address in gone:
        os.unlink(os.path.join(data_dir, NETWORK_NAME, address))
    return gone
