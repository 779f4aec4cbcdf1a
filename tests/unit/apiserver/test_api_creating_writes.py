"""A PUT or an apply that makes its object is a create: it needs that permission as well."""

from __future__ import annotations

import pytest

from argosy.objects.status import ApiError

RBAC = "rbac.authorization.k8s.io"


async def allow(api, user, group, resource, verbs):
    """A cluster role of these verbs, bound to `user`, known to the server when this returns."""
    rule = {"apiGroups": [group], "resources": [resource], "verbs": verbs}
    role = {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRole", "metadata": {"name": user}, "rules": [rule]}
    reference = {"kind": "ClusterRole", "name": user, "apiGroup": RBAC}
    subject = {"kind": "User", "name": user, "apiGroup": RBAC}
    binding = {**role, "kind": "ClusterRoleBinding", "roleRef": reference, "subjects": [subject]}
    del binding["rules"]
    await api.client().resource(RBAC, "v1", "clusterroles").create(role)
    bindings = api.client().resource(RBAC, "v1", "clusterrolebindings")
    await bindings.create(binding)
    await bindings.list()


def lease(name="l"):
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": {}}


@pytest.mark.parametrize(("verbs", "works"), [(["update"], False), (["update", "create"], True)])
def test_a_put_that_creates_needs_both_verbs(with_api, verbs, works):
    async def body(api):
        await allow(api, "eve", "coordination.k8s.io", "leases", verbs)
        leases = api.client("eve").resource("coordination.k8s.io", "v1", "leases")
        if works:
            assert (await leases.update(lease()))["metadata"]["uid"]
            return
        with pytest.raises(ApiError) as caught:
            await leases.update(lease())
        assert caught.value.code == 403
        assert 'cannot create resource "leases"' in caught.value.message

    with_api(body)


@pytest.mark.parametrize(("verbs", "code"), [(["patch"], 403), (["patch", "create"], 201)])
def test_an_apply_that_creates_needs_both_verbs(with_rest, verbs, code):
    async def body(api, http):
        rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": verbs}
        roles = f"/apis/{RBAC}/v1"
        await http.call("POST", f"{roles}/clusterroles", json={"metadata": {"name": "eve"}, "rules": [rule]})
        binding = {
            "metadata": {"name": "eve"},
            "roleRef": {"kind": "ClusterRole", "name": "eve"},
            "subjects": [{"kind": "User", "name": "eve"}],
        }
        await http.call("POST", f"{roles}/clusterrolebindings", json=binding)
        await http.call("GET", f"{roles}/clusterrolebindings")
        eve = await api.http_of("eve")
        response, _ = await eve.call(
            "PATCH",
            "/api/v1/namespaces/default/configmaps/made?fieldManager=eve",
            data='{"apiVersion":"v1","kind":"ConfigMap"}',
            headers={"Content-Type": "application/apply-patch+yaml"},
        )
        assert response.status == code

    with_rest(body)
