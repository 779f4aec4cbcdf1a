"""One set of patch cases for two backends: Argosy's patches, and upstream's code inside an installed kubectl."""

import glob
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from argosy.objects.meta import copy
from argosy.objects.status import ApiError
from control_plane.apiserver.patch import JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH, parse_patch
from control_plane.apiserver.schema import Catalog, Schemas

Obj = dict[str, Any]
Backend = Callable[[Obj, Path], Obj | None]
"""Gives the patched object, or None when the patch is refused."""

CASES: list[Obj] = yaml.safe_load(Path(__file__).with_name("cases.yaml").read_text(encoding="utf-8"))
SCHEMAS = Schemas(Catalog.load())
MEDIA = {"strategic": STRATEGIC_MERGE_PATCH, "merge": MERGE_PATCH, "json": JSON_PATCH}


def _kubectl() -> str | None:
    newest = sorted(glob.glob("/usr/lib/google-cloud-sdk/bin/kubectl.1.*"))
    return newest[-1] if newest else shutil.which("kubectl")


def argosy(case: Obj, _folder: Path) -> Obj | None:
    live = case["live"]
    group, _, version = live["apiVersion"].rpartition("/")
    compiled = SCHEMAS.for_kind(group, version, live["kind"])
    before = copy(live)
    try:
        result = parse_patch(MEDIA[case["type"]], orjson.dumps(case["patch"]), compiled).apply(live)
    except ApiError as error:
        assert error.code in (400, 422)
        return None
    assert live == before
    assert compiled.check(result).errors == []
    return result


def kubectl(case: Obj, folder: Path) -> Obj | None:
    program = _kubectl()
    if program is None:
        pytest.skip("kubectl is not installed")
    file = folder / "live.json"
    file.write_bytes(orjson.dumps(case["live"]))
    done = subprocess.run(
        [program, "patch", "--local", "-f", str(file), "--type", case["type"], "-o", "json",
         "-p", orjson.dumps(case["patch"]).decode(), "--kubeconfig", "/dev/null"],
        capture_output=True, check=False,
    )  # fmt: skip
    if done.returncode:
        return None
    result: Obj = orjson.loads(done.stdout)
    return result


def _at(obj: Any, path: str) -> Any:
    for part in path.split("."):
        obj = obj[int(part)] if isinstance(obj, list) else obj.get(part)
    return obj


@pytest.mark.parametrize("backend", [argosy, pytest.param(kubectl, marks=pytest.mark.peer)], ids=lambda b: b.__name__)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_case(case: Obj, backend: Backend, tmp_path: Path) -> None:
    result = backend(case, tmp_path)
    if case.get("refused"):
        assert result is None
        return
    assert result is not None
    for path, wanted in case.get("expect", {}).items():
        found = _at(result, path)
        if backend is kubectl:
            found = _without_zeros(found)
        assert found == wanted, path
    for path, names in case.get("names", {}).items():
        assert [item["name"] for item in _at(result, path)] == names


def _without_zeros(value: Any) -> Any:
    """kubectl prints what Go always writes (`resources: {}`)."""
    if isinstance(value, dict):
        return {key: _without_zeros(item) for key, item in value.items() if item not in ({}, None, 0)}
    if isinstance(value, list):
        return [_without_zeros(item) for item in value]
    return value
