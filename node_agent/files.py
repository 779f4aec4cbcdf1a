"""A pod's folders on a real node: logs, the hosts file, and termination messages.

ROOT/pods/UID/etc-hosts                          the containers' /etc/hosts
ROOT/pods/UID/allocation.json                    what the pod was granted, and what its containers have
ROOT/pods/UID/containers/NAME/termination-N      attempt N's termination log
LOGS/NAMESPACE_NAME_UID/CONTAINER/N.log          attempt N's log, CRI format
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence

from argosy import logs
from argosy.objects import meta
from argosy.objects.types import JsonObject
from node_agent.dns import hosts_file, parse_resolv_conf
from node_agent.runtime.runtime import ContainerStatus, Dns, Mount

log = logs.get("node_agent.files")

MAX_MESSAGE_BYTES = 4096
FALLBACK_BYTES = 2048
FALLBACK_LINES = 80
DEFAULT_TERMINATION_PATH = "/dev/termination-log"


class NodeFiles:
    def __init__(self, root_dir: str, pod_log_dir: str, cluster_domain: str, resolv_conf: str) -> None:
        self._pods = os.path.join(root_dir, "pods")
        self._logs = pod_log_dir
        self._cluster_domain = cluster_domain
        self._resolv_conf = resolv_conf

    def prepare(self, pod: JsonObject) -> str:
        os.makedirs(self._pods, mode=0o750, exist_ok=True)
        os.makedirs(os.path.join(self._pods, meta.uid(pod)), mode=0o750, exist_ok=True)
        folder = self._log_folder(meta.namespace(pod), meta.name(pod), meta.uid(pod))
        os.makedirs(folder, mode=0o755, exist_ok=True)
        return folder

    def container_mounts(
        self, pod: JsonObject, container: JsonObject, attempt: int, pod_ips: Sequence[str]
    ) -> list[Mount]:
        name = container["name"]
        log_folder = self._log_folder(meta.namespace(pod), meta.name(pod), meta.uid(pod))
        os.makedirs(os.path.join(log_folder, name), mode=0o755, exist_ok=True)
        mounts: list[Mount] = []
        path = str(container.get("terminationMessagePath") or DEFAULT_TERMINATION_PATH)
        message = self._message_file(pod, name, attempt)
        os.makedirs(os.path.dirname(message), mode=0o750, exist_ok=True)
        with open(message, "wb") as file:
            os.fchmod(file.fileno(), 0o666)
        mounts.append(Mount(path, message))
        if not meta.spec(pod).get("hostNetwork") and not pod_ips:
            return mounts
        mounts.append(Mount("/etc/hosts", self._write_hosts(pod, pod_ips)))
        return mounts

    def _write_hosts(self, pod: JsonObject, pod_ips: Sequence[str]) -> str:
        node_hosts = ""
        if meta.spec(pod).get("hostNetwork"):
            try:
                with open("/etc/hosts", encoding="utf-8", errors="replace") as file:
                    node_hosts = file.read(64 << 10)
            except FileNotFoundError:
                node_hosts = ""
        path = os.path.join(self._pods, meta.uid(pod), "etc-hosts")
        with open(path, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(hosts_file(pod, pod_ips, self._cluster_domain, node_hosts))
        return path

    def termination_message(self, pod: JsonObject, container: JsonObject | None, status: ContainerStatus) -> str:
        text = _head(self._message_file(pod, status.name, status.attempt), MAX_MESSAGE_BYTES)
        policy = (container or {}).get("terminationMessagePolicy")
        if not text and status.exit_code != 0 and policy == "FallbackToLogsOnError":
            return _last_lines(status.log_path)
        return text

    def last_attempt(self, pod: JsonObject, container_name: str) -> int:
        folder = os.path.join(self._log_folder(meta.namespace(pod), meta.name(pod), meta.uid(pod)), container_name)
        numbers = [int(name[:-4]) for name in _names(folder) if name.endswith(".log") and name[:-4].isdigit()]
        return max(numbers, default=-1)

    def log_bytes(self, pod: JsonObject, container_name: str) -> int:
        folder = os.path.join(self._log_folder(meta.namespace(pod), meta.name(pod), meta.uid(pod)), container_name)
        total = 0
        for name in _names(folder):
            try:
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512
            except FileNotFoundError:
                continue
        return total

    def allocation(self, uid: str) -> JsonObject | None:
        try:
            with open(self._allocation_file(uid), encoding="utf-8") as file:
                content = json.load(file)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            log.warning("a pod's allocation cannot be read", uid=uid, error=error)
            return None
        return content if isinstance(content, dict) else None

    def keep_allocation(self, uid: str, content: JsonObject) -> None:
        path = self._allocation_file(uid)
        os.makedirs(os.path.dirname(path), mode=0o750, exist_ok=True)
        with open(f"{path}.new", "w", encoding="utf-8") as file:
            json.dump(content, file)
        os.replace(f"{path}.new", path)

    def _allocation_file(self, uid: str) -> str:
        return os.path.join(self._pods, uid, "allocation.json")

    def node_dns(self) -> Dns:
        try:
            with open(self._resolv_conf, encoding="utf-8", errors="replace") as file:
                return parse_resolv_conf(file.read(64 << 10))
        except FileNotFoundError:
            return Dns()

    def forget_attempt(self, pod: JsonObject, container_name: str, attempt: int) -> None:
        folder = os.path.join(self._log_folder(meta.namespace(pod), meta.name(pod), meta.uid(pod)), container_name)
        for name in _names(folder):
            if name == f"{attempt}.log" or name.startswith(f"{attempt}.log."):
                _unlink(os.path.join(folder, name))
        _unlink(self._message_file(pod, container_name, attempt))

    def remove(self, uid: str) -> None:
        for name in self._log_folders(uid):
            shutil.rmtree(os.path.join(self._logs, name), ignore_errors=True)
        folder = os.path.join(self._pods, uid)
        shutil.rmtree(os.path.join(folder, "containers"), ignore_errors=True)
        for name in ("etc-hosts", "allocation.json", "allocation.json.new"):
            _unlink(os.path.join(folder, name))
        try:
            os.rmdir(folder)
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("a pod's folder is not empty", folder=folder, error=error)

    def known(self) -> list[str]:
        uids = [name.rpartition("_")[2] for name in _names(self._logs) if name.count("_") >= 2]
        return list(dict.fromkeys([*_names(self._pods), *uids]))

    def _log_folders(self, uid: str) -> list[str]:
        return [name for name in _names(self._logs) if name.endswith(f"_{uid}")]

    def _log_folder(self, namespace: str, name: str, uid: str) -> str:
        return os.path.join(self._logs, f"{namespace}_{name}_{uid}")

    def _message_file(self, pod: JsonObject, container_name: str, attempt: int) -> str:
        return os.path.join(self._pods, meta.uid(pod), "containers", container_name, f"termination-{attempt}")


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


def _head(path: str, size_bytes: int) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(size_bytes).decode("utf-8", "replace")
    except (FileNotFoundError, IsADirectoryError):
        return ""


def _last_lines(path: str) -> str:
    """The end of a container's log without the CRI prefix of each line: at most 80 lines or 2048 bytes."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - (FALLBACK_LINES << 10)))
            lines = file.read().splitlines()
    except OSError:
        return ""
    texts = [line.split(b" ", 3)[3] + b"\n" for line in lines[-FALLBACK_LINES:] if line.count(b" ") >= 3]
    return b"".join(texts)[-FALLBACK_BYTES:].decode("utf-8", "replace")


class LogKeeper:
    """Rotation of containers' logs by size: N.log becomes N.log.TIMESTAMP, the oldest are dropped."""

    def __init__(self, max_bytes: int, max_files: int) -> None:
        self._max_bytes = max_bytes
        self._max_files = max(2, max_files)
        self._count = 0

    def oversized(self, status: ContainerStatus, log_path: str) -> bool:
        try:
            return os.path.getsize(log_path) >= self._max_bytes
        except OSError:
            return False

    def rotate(self, log_path: str) -> None:
        folder, base = os.path.split(log_path)
        old = [name for name in os.listdir(folder) if name.startswith(base + ".")]
        numbers = sorted(int(name[len(base) + 1 :]) for name in old if name[len(base) + 1 :].isdigit())
        for number in numbers[: max(0, len(numbers) - (self._max_files - 2))]:
            _unlink(os.path.join(folder, f"{base}.{number}"))
        os.rename(log_path, f"{log_path}.{(numbers[-1] if numbers else 0) + 1}")
