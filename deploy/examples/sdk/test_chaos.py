"""An application heals itself while the cluster is ill; run it with pytest."""


def test_pods_are_replaced_while_a_store_member_is_dead_and_a_link_slow(cluster):
    space = ("-n", "chaos-example")
    cluster.kubectl("create", "namespace", "chaos-example")
    cluster.kubectl(
        "create", "deployment", "web", "--image=busybox:1.35", "--replicas=2", *space, "--", "sleep", "9999"
    )
    cluster.wait("deployment/web", "condition=Available", *space)
    before = set(cluster.kubectl("get", "pods", "-o", "name", *space).split())
    with cluster.chaos.kill("etcd-1", hold=True), cluster.chaos.delay("node-1", delay_ms=50):
        cluster.kubectl("delete", "pods", "--all", "--now", *space)
        cluster.wait("deployment/web", "condition=Available", *space)
        after = set(cluster.kubectl("get", "pods", "-o", "name", *space).split())
        assert len(after - before) == 2
    cluster.kubectl("delete", "namespace", "chaos-example", "--wait=false")
