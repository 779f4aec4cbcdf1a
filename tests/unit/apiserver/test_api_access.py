"""Who may do what: certificates, tokens, RBAC, nodes, impersonation, escalation, reviews."""

from __future__ import annotations

import pytest

from argosy.objects.status import ApiError
from control_plane.apiserver.auth.rules import covers

RBAC = "rbac.authorization.k8s.io"


async def refused(awaitable, code=403):
    with pytest.raises(ApiError) as caught:
        await awaitable
    assert caught.value.code == code, caught.value.status
    return caught.value


def pod(name="p", node="", volumes=()):
    spec = {"containers": [{"name": "c", "image": "nginx:1"}], "volumes": list(volumes)}
    if node:
        spec["nodeName"] = node
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def simple(kind, name, group="", **fields):
    version = f"{group}/v1" if group else "v1"
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": "default"}, **fields}


async def bind(api, role, user, kind="ClusterRole", name="b"):
    bindings = api.client().resource(RBAC, "v1", "rolebindings")
    subject = {"kind": "User", "name": user, "apiGroup": RBAC}
    reference = {"kind": kind, "name": role, "apiGroup": RBAC}
    await bindings.create(simple("RoleBinding", name, RBAC, subjects=[subject], roleRef=reference))
    await api.client().resource(RBAC, "v1", "rolebindings").list()


def test_nobody_may_do_anything_without_a_binding(with_api):
    async def body(api):
        pods = api.client("alice", "dev").resource("", "v1", "pods")
        error = await refused(pods.list(namespace="default"))
        assert error.message == (
            'pods is forbidden: User "alice" cannot list resource "pods" in API group "" in the namespace "default"'
        )
        await bind(api, "view", "alice")
        assert (await pods.list(namespace="default")).items == []
        await refused(pods.list())
        await refused(api.client("alice", "dev").resource("", "v1", "secrets").list(namespace="default"))
        await api.client().resource(RBAC, "v1", "rolebindings").delete("b", namespace="default")
        await api.client().resource(RBAC, "v1", "rolebindings").list()
        await refused(pods.list(namespace="default"))

    with_api(body)


def test_aggregated_roles_grow_with_what_they_select(with_api):
    async def body(api):
        await bind(api, "view", "alice")
        leases = api.client("alice").resource("coordination.k8s.io", "v1", "leases")
        await refused(leases.list(namespace="default"))
        rule = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["list"]}
        role = simple("ClusterRole", "more", RBAC, rules=[rule])
        role["metadata"] = {"name": "more", "labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}}
        await api.client().resource(RBAC, "v1", "clusterroles").create(role)
        await api.client().resource(RBAC, "v1", "clusterroles").list()
        assert (await leases.list(namespace="default")).items == []

    with_api(body)


def test_service_account_tokens_work_until_what_they_are_bound_to_goes(with_api):
    async def body(api):
        account = await api.account()
        made = await api.pods.create(pod())
        accounts = api.client().resource("", "v1", "serviceaccounts")
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"boundObjectRef": {"kind": "Pod", "name": "p", "uid": made["metadata"]["uid"]}},
        }
        answer = await accounts.create(request, namespace="default", name="default", subresource="token")
        token = answer["status"]["token"]
        client = api.token_client(token)
        reviews = client.resource("authentication.k8s.io", "v1", "selfsubjectreviews")
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview", "metadata": {}}
        me = (await reviews.create(review))["status"]["userInfo"]
        assert me["username"] == "system:serviceaccount:default:default"
        assert me["uid"] == account["metadata"]["uid"]
        assert me["extra"]["authentication.kubernetes.io/pod-name"] == ["p"]
        assert "system:serviceaccounts:default" in me["groups"]
        await refused(client.resource("", "v1", "pods").list(namespace="default"))
        forged = token[:-8] + ("AAAAAAAA" if token[-8:] != "AAAAAAAA" else "BBBBBBBB")
        bad = api.token_client(forged).resource("", "v1", "pods")
        await refused(bad.list(namespace="default"), 401)
        await api.pods.delete("p", namespace="default")
        await api.pods.list()
        await refused(reviews.create(review), 401)
        short = {**request, "spec": {"expirationSeconds": 1}}
        await refused(accounts.create(short, namespace="default", name="default", subresource="token"), 422)

    with_api(body)


def test_token_reviews_tell_good_from_bad(with_api):
    async def body(api):
        await api.account()
        accounts = api.client().resource("", "v1", "serviceaccounts")
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": ["vault"]}}
        answer = await accounts.create(request, namespace="default", name="default", subresource="token")
        reviews = api.client().resource("authentication.k8s.io", "v1", "tokenreviews")

        async def status(token, audiences):
            spec = {"token": token, "audiences": audiences}
            review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "metadata": {}, "spec": spec}
            return (await reviews.create(review))["status"]

        good = await status(answer["status"]["token"], ["vault"])
        assert (good["authenticated"], good["audiences"]) == (True, ["vault"])
        assert (await status(answer["status"]["token"], []))["authenticated"] is False
        assert (await status("a.b.c", []))["authenticated"] is False

    with_api(body)


def test_bootstrap_tokens_join_nodes(with_api):
    async def body(api):
        secrets = api.client().resource("", "v1", "secrets")
        secret = simple("Secret", "bootstrap-token-abcdef", type="bootstrap.kubernetes.io/token")
        secret["metadata"]["namespace"] = "kube-system"
        secret["stringData"] = {
            "token-id": "abcdef",
            "token-secret": "0123456789abcdef",
            "usage-bootstrap-authentication": "true",
            "auth-extra-groups": "system:bootstrappers:workers",
        }
        await secrets.create(secret)
        await secrets.list()
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview", "metadata": {}}
        client = api.token_client("abcdef.0123456789abcdef")
        me = (await client.resource("authentication.k8s.io", "v1", "selfsubjectreviews").create(review))["status"]
        assert me["userInfo"]["username"] == "system:bootstrap:abcdef"
        assert "system:bootstrappers:workers" in me["userInfo"]["groups"]
        wrong = api.token_client("abcdef.0123456789abcdee")
        await refused(wrong.resource("", "v1", "pods").list(), 401)

    with_api(body)


def test_a_node_reads_only_what_its_pods_refer_to(with_api):
    async def body(api):
        await api.account()
        secrets = api.client().resource("", "v1", "secrets")
        for name in ("mine", "other"):
            await secrets.create(simple("Secret", name, stringData={"k": "v"}))
        volume = {"name": "v", "secret": {"secretName": "mine"}}
        await api.pods.create(pod("p", node="n1", volumes=[volume]))
        await api.pods.create(pod("q", node="n2"))
        await api.pods.list()
        node = api.client("system:node:n1", "system:nodes")
        assert (await node.resource("", "v1", "secrets").get("mine", namespace="default"))["kind"] == "Secret"
        await refused(node.resource("", "v1", "secrets").get("other", namespace="default"))
        await refused(node.resource("", "v1", "secrets").list(namespace="default"))
        status = {"status": {"phase": "Running"}}
        pods = node.resource("", "v1", "pods")
        await pods.patch("p", status, namespace="default", subresource="status")
        await refused(pods.patch("q", status, namespace="default", subresource="status"))
        await refused(pods.delete("q", namespace="default", grace_period_s=0))
        await pods.delete("p", namespace="default", grace_period_s=0)
        nodes = node.resource("", "v1", "nodes")
        made = await nodes.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}})
        assert made["spec"]["taints"] == [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]
        await refused(nodes.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n3"}}))
        await refused(nodes.patch("n1", {"spec": {"taints": None}}))
        label = {"metadata": {"labels": {"node-restriction.kubernetes.io/x": "y"}}}
        await refused(nodes.patch("n1", label))

    with_api(body)


def test_nobody_grants_what_they_do_not_have(with_api):
    async def body(api):
        rules = [
            {"apiGroups": [RBAC], "resources": ["roles", "rolebindings"], "verbs": ["create", "update"]},
            {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]},
        ]
        roles = api.client().resource(RBAC, "v1", "roles")
        await roles.create(simple("Role", "granter", RBAC, rules=rules))
        await bind(api, "granter", "bob", kind="Role")
        await roles.list()
        bobs = api.client("bob").resource(RBAC, "v1", "roles")
        allowed = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}
        await bobs.create(simple("Role", "fine", RBAC, rules=[allowed]))
        error = await refused(bobs.create(simple("Role", "more", RBAC, rules=[{**allowed, "verbs": ["*"]}])))
        assert error.message == (
            'roles.rbac.authorization.k8s.io "more" is forbidden: user "bob" (groups=["system:authenticated"]) is '
            'attempting to grant RBAC permissions not currently held:\n{APIGroups:[""], Resources:["configmaps"], '
            'Verbs:["*"]}'
        )
        reference = {"kind": "ClusterRole", "name": "cluster-admin", "apiGroup": RBAC}
        subject = {"kind": "User", "name": "bob", "apiGroup": RBAC}
        binding = simple("RoleBinding", "up", RBAC, roleRef=reference, subjects=[subject])
        await refused(api.client("bob").resource(RBAC, "v1", "rolebindings").create(binding))

    with_api(body)


def test_access_reviews_answer_as_the_authoriser_would(with_api):
    async def body(api):
        await bind(api, "edit", "carol")
        reviews = api.client().resource("authorization.k8s.io", "v1", "subjectaccessreviews")

        async def allowed(user, verb, resource, namespace="default"):
            attributes = {"verb": verb, "resource": resource, "namespace": namespace}
            spec = {"user": user, "resourceAttributes": attributes}
            review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "metadata": {}}
            return (await reviews.create({**review, "spec": spec}))["status"]["allowed"]

        assert await allowed("carol", "create", "pods")
        assert not await allowed("carol", "create", "pods", "kube-system")
        assert not await allowed("carol", "create", "nodes")
        own = api.client("carol").resource("authorization.k8s.io", "v1", "selfsubjectrulesreviews")
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "metadata": {}}
        rules = (await own.create({**review, "spec": {"namespace": "default"}}))["status"]["resourceRules"]
        assert any("pods/exec" in rule["resources"] and "create" in rule["verbs"] for rule in rules)

    with_api(body)


def test_covers_finds_what_is_missing():
    own = [{"apiGroups": ["*"], "resources": ["*/scale", "pods"], "verbs": ["get", "list"]}]
    wanted = [{"apiGroups": ["apps"], "resources": ["deployments/scale", "pods"], "verbs": ["get"]}]
    assert covers(own, wanted) == []
    assert covers(own, [{"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]}])
    named = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"], "resourceNames": ["a"]}]
    assert covers(named, [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}])
    paths = [{"nonResourceURLs": ["/api/*"], "verbs": ["get"]}]
    assert covers(paths, [{"nonResourceURLs": ["/api/v1"], "verbs": ["get"]}]) == []


def test_logs_over_grpc_are_authorised_and_answered(with_api):
    async def body(api):
        from argosy.pb import api_pb2 as pb

        async def log(client, name):
            target = client.resource("", "v1", "pods").target(name, "default")
            request = pb.LogRequest(target=target, options_json=b'{"follow":true,"tailLines":5}')
            return [chunk async for chunk in client.stream("Log", request.SerializeToString())]

        await api.account()
        await api.pods.create(pod())
        await refused(log(api.client("alice"), "p"))
        await refused(log(api.client(), "absent"), 404)
        assert await log(api.client(), "p") == [], "nothing ran yet"

    with_api(body, kubelet_certificate="node.crt", kubelet_key="node.key")


def test_a_watch_is_authorised(with_api):
    async def body(api):
        with pytest.raises(ApiError) as caught:
            await anext(api.client("nobody").resource("", "v1", "pods").watch(namespace="default"))
        assert caught.value.code == 403

    with_api(body)


def test_a_node_gets_tokens_of_its_own_pods_only(with_api):
    async def body(api):
        await api.account()
        mine, other = await api.pods.create(pod("p", node="n1")), await api.pods.create(pod("q", node="n2"))
        await api.pods.list()
        accounts = api.client("system:node:n1", "system:nodes").resource("", "v1", "serviceaccounts")

        def ask(**reference):
            request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
            if reference:
                request["spec"]["boundObjectRef"] = {"apiVersion": "v1", "kind": "Pod", **reference}
            return accounts.create(request, namespace="default", name="default", subresource="token")

        assert (await ask(name="p", uid=mine["metadata"]["uid"]))["status"]["token"]
        assert "not bound to a pod" in (await refused(ask())).message
        assert "without a uid" in (await refused(ask(name="p"))).message
        assert "on a different node" in (await refused(ask(name="q", uid=other["metadata"]["uid"]))).message

    with_api(body)


def test_nobody_asks_for_a_masters_certificate(with_api):
    async def body(api):
        from base64 import b64encode

        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID

        csrs = api.client().resource("certificates.k8s.io", "v1", "certificatesigningrequests")

        def ask(name, group):
            subject = [
                x509.NameAttribute(NameOID.COMMON_NAME, name),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, group),
            ]
            builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
            signed = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
            pem = b64encode(signed.public_bytes(Encoding.PEM)).decode()
            spec = {"request": pem, "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"]}
            return csrs.create(simple("CertificateSigningRequest", name, "certificates.k8s.io", spec=spec))

        from cryptography.hazmat.primitives.serialization import Encoding

        assert (await ask("ulf", "dev"))["spec"]["username"] == "kubernetes-admin"
        error = await refused(ask("evil", "system:masters"))
        assert "signer with system:masters group is not allowed" in error.message

    with_api(body)
