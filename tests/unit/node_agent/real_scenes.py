"""What happens on a real node: each scene is one test of `test_real_node.py`, run inside the node."""

import asyncio
import base64
import os

from argosy.objects import meta
from node_agent.facts import boot_id
from tests.unit.node_agent.node_world import make_pod
from tests.unit.node_agent.real_node import ROOT, RealWorld

IMAGE = "busybox:1.35"
SLEEPER = {"name": "main", "image": IMAGE, "command": ["sleep", "1000"]}
SERVE = "mkdir -p /tmp/w && echo fine > /tmp/w/ok && exec httpd -f -p 8080 -h /tmp/w"


async def whole_pod(world: RealWorld) -> None:
    """Environment, volumes, probes, hosts and resolv.conf, the termination message, logs, and a clean end."""

    def put(resource: str, kind: str, name: str, **content: object) -> None:
        world.api.put(resource, {"kind": kind, "metadata": {"name": name, "namespace": "default"}, **content})

    put("configmaps", "ConfigMap", "cfg", data={"a.txt": "one", "b": "two"})
    put("secrets", "Secret", "key", data={"k": base64.b64encode(b"hidden").decode()})
    ports = [{"name": "https", "port": 443}]
    put("services", "Service", "kubernetes", spec={"clusterIP": "10.96.0.1", "ports": ports})
    main = {
        "name": "main",
        "image": IMAGE,
        "command": ["sh", "-c", f"echo started $(GREETING); trap 'echo bye; exit 0' TERM; ({SERVE}) & wait"],
        "env": [
            {"name": "GREETING", "value": "hello"},
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "cfg", "key": "b"}}},
            {"name": "K", "valueFrom": {"secretKeyRef": {"name": "key", "key": "k"}}},
            {"name": "MEM", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
        ],
        "resources": {"limits": {"memory": "64Mi", "cpu": "500m"}, "requests": {"memory": "64Mi", "cpu": "500m"}},
        "readinessProbe": {"httpGet": {"path": "/ok", "port": "web"}, "periodSeconds": 1},
        "livenessProbe": {"exec": {"command": ["test", "!", "-e", "/tmp/sick"]}, "periodSeconds": 1,
                          "failureThreshold": 1},
        "ports": [{"name": "web", "containerPort": 8080}],
        "volumeMounts": [
            {"name": "cfg", "mountPath": "/cfg"},
            {"name": "cfg", "mountPath": "/one-file", "subPath": "a.txt"},
            {"name": "key", "mountPath": "/key"},
            {"name": "scratch", "mountPath": "/scratch"},
            {"name": "memory", "mountPath": "/memory"},
            {"name": "info", "mountPath": "/info"},
        ],
        "lifecycle": {"postStart": {"exec": {"command": ["sh", "-c", "echo post > /tmp/post"]}}},
    }  # fmt: skip
    pod = make_pod(
        containers=[main],
        volumes=[
            {"name": "cfg", "configMap": {"name": "cfg"}},
            {"name": "key", "secret": {"secretName": "key", "defaultMode": 0o400}},
            {"name": "scratch", "emptyDir": {}},
            {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
            {
                "name": "info",
                "downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]},
            },
        ],
        hostAliases=[{"ip": "192.0.2.7", "hostnames": ["alias"]}],
        subdomain="sub",
        terminationGracePeriodSeconds=10,
    )
    world.api.put("pods", pod)
    await world.running("default/web")
    ip = world.status("default/web")["podIP"]
    assert ip.startswith("10.244.1.")
    shown = await world.sh("default/web", "echo $GREETING $POD_IP $B $K $MEM $KUBERNETES_SERVICE_HOST; cat /tmp/post")
    assert shown == f"hello {ip} two hidden 64 10.96.0.1\npost", shown
    assert await world.sh("default/web", "cat /cfg/a.txt /one-file /key/k /info/name") == "oneonehiddenweb"
    assert await world.sh("default/web", "stat -L -c %a /key/k; touch /scratch/x /memory/x && echo ok") == "400\nok"
    assert "read-only" in (await world.sh("default/web", "touch /cfg/new")).lower()
    hosts = await world.sh("default/web", "cat /etc/hosts; hostname")
    assert f"{ip}\tweb.sub.default.svc.cluster.local\tweb" in hosts and "192.0.2.7\talias" in hosts
    assert hosts.endswith("\nweb")
    uid = meta.uid(pod) or meta.uid(world.pod("default/web") or {})
    assert world.agent is not None
    parent = "/sys/fs/cgroup/memory" + world.agent.machine.cgroups.parent(uid, "Guaranteed")
    if os.path.isdir("/sys/fs/cgroup/memory"):
        with open(f"{parent}/memory.limit_in_bytes", encoding="ascii") as file:
            assert file.read().strip() == str(64 << 20)
    world.api.change("configmaps", "default/cfg", {"data": {"a.txt": "changed"}})
    for _ in range(200):
        if await world.sh("default/web", "cat /cfg/a.txt") == "changed":
            break
        await asyncio.sleep(0.05)
    assert await world.sh("default/web", "cat /cfg/a.txt") == "changed"
    log = f"/var/log/pods/default_web_{uid}/main/0.log"
    with open(log, encoding="utf-8") as file:
        assert " stdout F started hello" in file.read()
    await world.sh("default/web", "rm /tmp/w/ok")
    await world.until(lambda: world.condition("default/web", "Ready") == "False")
    await world.sh("default/web", "echo fine > /tmp/w/ok")
    await world.until(lambda: world.condition("default/web", "Ready") == "True")
    await world.sh("default/web", "touch /tmp/sick")
    await world.until(lambda: world.container("default/web")["restartCount"] == 1)
    await world.running("default/web")
    assert "Container main failed liveness probe, will be restarted" in world.events("Killing")
    await world.delete("web")
    await world.until(lambda: world.pod("default/web") is None)
    assert not os.path.exists(f"{ROOT}/pods/{uid}") and not os.path.exists(log)
    assert not os.path.exists(parent)
    assert await world.cri.list_sandboxes() == []


async def agent_restart(world: RealWorld) -> None:
    """kill -9 of the agent and of containerd touch no container; pods deleted meanwhile are ended."""
    for name in ("stays", "goes"):
        world.api.put("pods", make_pod(name, containers=[SLEEPER], terminationGracePeriodSeconds=1))
    await world.running("default/stays")
    await world.running("default/goes")
    before = world.container("default/stays")
    await world.stop()
    world.api.remove("pods", "default/goes")
    assert world.containerd is not None
    world.containerd.kill()
    world.containerd.wait()
    world.start_containerd()
    await world.runtime_up()
    world.start()

    async def one_left() -> bool:
        sandboxes = await world.cri.list_sandboxes()
        return [item.name for item in sandboxes] == ["stays"]

    for _ in range(400):
        if await one_left():
            break
        await asyncio.sleep(0.05)
    assert await one_left()
    await asyncio.sleep(0.5)
    assert world.container("default/stays") == before
    assert world.condition("default/stays", "Ready") == "True"


async def node_crash(world: RealWorld) -> None:
    """After a new boot nothing of before runs: the pod starts again in a new sandbox, its old address is free."""
    world.api.put("pods", make_pod(containers=[SLEEPER]))
    await world.running("default/web")
    await world.stop()
    with open(f"{ROOT}/boot-id", "w", encoding="utf-8") as file:
        file.write("another boot")
    world.start()
    await world.until(lambda: world.container("default/web")["restartCount"] == 1)
    await world.running("default/web")
    with open(f"{ROOT}/boot-id", encoding="utf-8") as file:
        assert file.read() == boot_id()
    assert [name for name in os.listdir("/run/cni/networks/argosy") if name[0].isdigit()] == [
        world.status("default/web")["podIP"]
    ]


async def limits(world: RealWorld) -> None:
    """A container that eats memory is OOMKilled and says so; a failing command leaves its message."""
    eater = {
        "name": "main",
        "image": IMAGE,
        "command": ["sh", "-c", "tail /dev/zero"],
        "resources": {"limits": {"memory": "24Mi"}},
    }
    teller = {
        "name": "main",
        "image": IMAGE,
        "command": ["sh", "-c", "echo it broke > /dev/termination-log; exit 5"],
    }
    missing = {"name": "main", "image": IMAGE, "command": ["/no/such/program"]}
    for name, container in (("eater", eater), ("teller", teller), ("missing", missing)):
        world.api.put("pods", make_pod(name, containers=[container], restartPolicy="Never"))
    for name in ("eater", "teller", "missing"):
        await world.until(lambda name=name: world.status(f"default/{name}").get("phase") == "Failed")
    assert world.container("default/eater")["state"]["terminated"]["reason"] == "OOMKilled"
    ended = world.container("default/teller")["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"], ended["message"]) == (5, "Error", "it broke\n")
    assert world.container("default/missing")["state"]["terminated"]["reason"] in ("StartError", "ContainerCannotRun")
