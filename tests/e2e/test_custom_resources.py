"""Custom resources as `kubectl` users have them: defined, explained, validated, shown, scaled, applied, deleted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from argosy.testing import Cluster

NAMESPACE = "custom"
TAB = f"/apis/e2e.example.com/v1/namespaces/{NAMESPACE}/crontabs/tab"
DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: crontabs.e2e.example.com}
spec:
  group: e2e.example.com
  scope: Namespaced
  names: {plural: crontabs, kind: CronTab, shortNames: [e2ect], categories: [e2ecustom]}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        description: Runs something now and then.
        properties:
          spec:
            type: object
            required: [cronSpec]
            x-kubernetes-validations:
            - {rule: "!has(self.maxReplicas) || self.replicas <= self.maxReplicas", message: too many replicas}
            properties:
              cronSpec: {type: string, pattern: '^(\\S+\\s){4}\\S+$', description: When it runs.}
              image: {type: string, default: busybox}
              replicas: {type: integer, minimum: 0, maximum: 10, default: 1}
              maxReplicas: {type: integer}
          status:
            type: object
            properties:
              replicas: {type: integer}
              conditions:
                type: array
                items: {type: object, properties: {type: {type: string}, status: {type: string}}}
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}
    additionalPrinterColumns:
    - {name: Spec, type: string, jsonPath: .spec.cronSpec}
    - {name: Replicas, type: integer, jsonPath: .spec.replicas}
  - name: v1beta1
    served: true
    storage: false
    deprecated: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"""
OBJECT = {
    "apiVersion": "e2e.example.com/v1",
    "kind": "CronTab",
    "metadata": {"name": "tab", "namespace": NAMESPACE},
    "spec": {"cronSpec": "* * * * */5"},
}


@pytest.fixture(scope="module")
def defined(cluster: Cluster) -> Iterator[Cluster]:
    cluster.kubectl("create", "namespace", NAMESPACE)
    cluster.kubectl("apply", "-f", "-", stdin=DEFINITION)
    cluster.wait("crd/crontabs.e2e.example.com", "condition=established", timeout_s=20)
    cluster.eventually(
        lambda: cluster.kubectl_result("get", "crontabs.e2e.example.com", "-A").returncode,
        equals=0,
        what="it is served",
    )
    yield cluster
    cluster.kubectl("delete", "crd", "crontabs.e2e.example.com", "--ignore-not-found")
    cluster.kubectl("delete", "namespace", NAMESPACE)


def with_spec(**spec: object) -> str:
    return json.dumps({**OBJECT, "spec": {**OBJECT["spec"], **spec}})


def refused(cluster: Cluster, text: str, *arguments: str) -> str:
    done = cluster.kubectl_result("apply", *arguments, "-f", "-", stdin=text)
    assert done.returncode != 0
    return done.stderr


def test_an_object_is_defaulted_checked_and_shown(defined: Cluster) -> None:
    defined.kubectl("apply", "-f", "-", stdin=with_spec())
    found = defined.get("e2ect", "tab", "-n", NAMESPACE)
    assert found["spec"] == {"cronSpec": "* * * * */5", "image": "busybox", "replicas": 1}
    shown = defined.kubectl("get", "e2ecustom", "-n", NAMESPACE)
    assert [line.split()[:1] for line in shown.splitlines()] == [["NAME"], ["tab"]]
    assert shown.splitlines()[0].split() == ["NAME", "SPEC", "REPLICAS"]
    # Old kubectls check it themselves by the OpenAPI document, new ones let the server do it.
    said = refused(defined, with_spec(extra=1))
    assert 'unknown field "spec.extra"' in said or 'unknown field "extra" in com.example.e2e.v1.CronTab.spec' in said
    assert "spec.replicas in body should be less than or equal to 10" in refused(defined, with_spec(replicas=11))
    assert "too many replicas" in refused(defined, with_spec(replicas=3, maxReplicas=2))
    assert defined.get("e2ect", "tab", "-n", NAMESPACE) == found


def test_kubectl_explains_describes_and_waits(defined: Cluster) -> None:
    defined.kubectl("apply", "-f", "-", stdin=with_spec())
    text = defined.kubectl("explain", "crontab.spec", "--api-version=e2e.example.com/v1")
    assert "When it runs." in text and "-required-" in text
    assert "Cron Spec:" in defined.kubectl("describe", "crontab", "tab", "-n", NAMESPACE)
    found = defined.get("e2ect", "tab", "-n", NAMESPACE)
    found["status"] = {"conditions": [{"type": "Ready", "status": "True"}]}
    defined.kubectl("replace", "--raw", f"{TAB}/status", "-f", "-", stdin=json.dumps(found))
    defined.wait("crontab/tab", "condition=Ready", "-n", NAMESPACE, timeout_s=10)
    defined.kubectl("scale", "crontab/tab", "-n", NAMESPACE, "--replicas=4")
    found = defined.get("e2ect", "tab", "-n", NAMESPACE)
    assert found["spec"]["replicas"] == 4 and found["status"]["conditions"][0]["type"] == "Ready"


def test_another_version_of_the_same_object(defined: Cluster) -> None:
    defined.kubectl("apply", "-f", "-", stdin=with_spec())
    other = defined.get("crontabs.v1beta1.e2e.example.com", "tab", "-n", NAMESPACE)
    assert other["apiVersion"] == "e2e.example.com/v1beta1"
    assert other["spec"]["cronSpec"] == "* * * * */5"


def test_server_side_apply_knows_whose_fields_are_whose(defined: Cluster) -> None:
    defined.kubectl("delete", "e2ect", "--all", "-n", NAMESPACE)
    defined.kubectl("apply", "--server-side", "-f", "-", stdin=with_spec(image="one"))
    text = refused(defined, with_spec(image="two"), "--server-side", "--field-manager=other")
    assert 'conflict with "kubectl": .spec.image' in text
    defined.kubectl(
        "apply",
        "--server-side",
        "--force-conflicts",
        "--field-manager=other",
        "-f",
        "-",
        stdin=with_spec(image="two"),
    )
    found = json.loads(defined.kubectl("get", "--raw", TAB))
    assert found["spec"]["image"] == "two"
    owned = {each["manager"]: each["fieldsV1"] for each in found["metadata"]["managedFields"]}
    assert "f:image" in owned["other"]["f:spec"] and "f:image" not in owned["kubectl"]["f:spec"]


def test_deletion_cascades(defined: Cluster, tmp_path: Path) -> None:
    defined.kubectl("apply", "-f", "-", stdin=with_spec())
    owner = defined.get("e2ect", "tab", "-n", NAMESPACE)
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": "CronTab",
        "name": "tab",
        "uid": owner["metadata"]["uid"],
    }
    dependent = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "below", "namespace": NAMESPACE, "ownerReferences": [reference]},
    }
    defined.kubectl("apply", "-f", "-", stdin=json.dumps(dependent))
    defined.kubectl("delete", "crd", "crontabs.e2e.example.com")
    listed = ("api-resources", "--cached=false", "--api-group=e2e.example.com", "-o", "name")
    defined.eventually(lambda: defined.kubectl(*listed).strip(), equals="")

    def gone() -> bool:
        items = defined.get("configmaps", "-n", NAMESPACE)["items"]
        return all(item["metadata"]["name"] != "below" for item in items)

    defined.eventually(gone)
