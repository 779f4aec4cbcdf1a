"""What a pod's resolv.conf, hostname and hosts file say; pure (upstream pkg/kubelet/network/dns, kubelet_pods)."""

from __future__ import annotations

from collections.abc import Sequence

from argosy.objects import meta
from argosy.objects.types import JsonObject
from node_agent.runtime.runtime import Dns

MAX_SERVERS = 3
MAX_SEARCHES = 32
MAX_HOSTNAME_CHARS = 63
HOSTS_HEADER = "# Kubernetes-managed hosts file.\n"
HOST_NETWORK_HEADER = "# Kubernetes-managed hosts file (host network).\n"


def parse_resolv_conf(text: str) -> Dns:
    servers: list[str] = []
    searches: list[str] = []
    options: list[str] = []
    for line in text.splitlines():
        words = line.split("#")[0].split(";")[0].split()
        if len(words) < 2:
            continue
        if words[0] == "nameserver":
            servers.append(words[1])
        elif words[0] == "search":
            searches = words[1:]
        elif words[0] == "options":
            options = words[1:]
    return Dns(tuple(servers), tuple(searches), tuple(options))


def pod_dns(pod: JsonObject, node: Dns, cluster_dns: Sequence[str], cluster_domain: str) -> Dns:
    """resolv.conf by dnsPolicy, with dnsConfig merged in."""
    spec = meta.spec(pod)
    policy = spec.get("dnsPolicy") or "ClusterFirst"
    if policy == "ClusterFirst" and spec.get("hostNetwork"):
        policy = "Default"
    if policy == "None":
        base = Dns()
    elif policy in ("ClusterFirst", "ClusterFirstWithHostNet") and cluster_dns:
        namespace = meta.namespace(pod)
        searches = [f"{namespace}.svc.{cluster_domain}", f"svc.{cluster_domain}", cluster_domain]
        base = Dns(tuple(cluster_dns), (*searches, *node.searches), ("ndots:5",))
    else:
        base = node
    extra = spec.get("dnsConfig") or {}
    servers = dict.fromkeys([*base.servers, *(extra.get("nameservers") or [])])
    names = dict.fromkeys([*base.searches, *(extra.get("searches") or [])])
    options: dict[str, str] = dict(_option(option) for option in base.options)
    for option in extra.get("options") or []:
        options[option["name"]] = str(option.get("value") or "")
    return Dns(
        tuple(servers)[:MAX_SERVERS],
        tuple(names)[:MAX_SEARCHES],
        tuple(f"{name}:{value}" if value else name for name, value in options.items()),
    )


def _option(text: str) -> tuple[str, str]:
    name, _, value = text.partition(":")
    return name, value


def hostname(pod: JsonObject) -> str:
    spec = meta.spec(pod)
    return str(spec.get("hostname") or meta.name(pod))[:MAX_HOSTNAME_CHARS].rstrip("-.")


def domain_name(pod: JsonObject, cluster_domain: str) -> str:
    """The fully qualified name's part after the host name; empty without a subdomain."""
    subdomain = meta.spec(pod).get("subdomain")
    return f"{subdomain}.{meta.namespace(pod)}.svc.{cluster_domain}" if subdomain else ""


def sandbox_hostname(pod: JsonObject, cluster_domain: str) -> str:
    domain = domain_name(pod, cluster_domain)
    if meta.spec(pod).get("setHostnameAsFQDN") and domain:
        return f"{hostname(pod)}.{domain}"
    return hostname(pod)


def hosts_file(pod: JsonObject, pod_ips: Sequence[str], cluster_domain: str, node_hosts: str) -> str:
    """/etc/hosts of the pod's containers; with host network the node's own, with the aliases added."""
    aliases = _aliases(meta.spec(pod).get("hostAliases") or [])
    if meta.spec(pod).get("hostNetwork"):
        return HOST_NETWORK_HEADER + node_hosts + aliases
    lines = [
        "127.0.0.1\tlocalhost\n",
        "::1\tlocalhost ip6-localhost ip6-loopback\n",
        "fe00::0\tip6-localnet\n",
        "fe00::0\tip6-mcastprefix\n",
        "fe00::1\tip6-allnodes\n",
        "fe00::2\tip6-allrouters\n",
    ]
    domain = domain_name(pod, cluster_domain)
    names = f"{hostname(pod)}.{domain}\t{hostname(pod)}" if domain else hostname(pod)
    return HOSTS_HEADER + "".join(lines) + "".join(f"{ip}\t{names}\n" for ip in pod_ips) + aliases


def _aliases(aliases: Sequence[JsonObject]) -> str:
    if not aliases:
        return ""
    rows = "".join(f"{alias['ip']}\t" + "\t".join(alias.get("hostnames") or []) + "\n" for alias in aliases)
    return "\n# Entries added by HostAliases.\n" + rows
