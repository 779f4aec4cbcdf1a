"""CRI messages from and to the runtime seam's dataclasses; pure, used by `cri.py`."""

from __future__ import annotations

from argosy.pb import cri_pb2 as pb
from node_agent.runtime import runtime as rt

_NS_PER_S = 1_000_000_000
_PROTOCOLS = {"TCP": pb.TCP, "UDP": pb.UDP, "SCTP": pb.SCTP}
_NAMESPACES = {
    rt.Namespace.POD: pb.POD,
    rt.Namespace.CONTAINER: pb.CONTAINER,
    rt.Namespace.NODE: pb.NODE,
    rt.Namespace.TARGET: pb.TARGET,
}
_PROFILES = {
    rt.Profile.RUNTIME_DEFAULT: pb.SecurityProfile.RuntimeDefault,
    rt.Profile.UNCONFINED: pb.SecurityProfile.Unconfined,
    rt.Profile.LOCALHOST: pb.SecurityProfile.Localhost,
}
_PROPAGATIONS = {
    rt.Propagation.PRIVATE: pb.PROPAGATION_PRIVATE,
    rt.Propagation.HOST_TO_CONTAINER: pb.PROPAGATION_HOST_TO_CONTAINER,
    rt.Propagation.BIDIRECTIONAL: pb.PROPAGATION_BIDIRECTIONAL,
}
_STATES = {
    pb.CONTAINER_CREATED: rt.State.CREATED,
    pb.CONTAINER_RUNNING: rt.State.RUNNING,
    pb.CONTAINER_EXITED: rt.State.EXITED,
}


def _seconds(nanoseconds: int) -> float:
    return nanoseconds / _NS_PER_S if nanoseconds > 0 else 0.0


def _profile(profile: rt.SecurityProfile) -> pb.SecurityProfile:
    return pb.SecurityProfile(profile_type=_PROFILES[profile.type], localhost_ref=profile.localhost_ref)


def _namespaces(security: rt.Security) -> pb.NamespaceOption:
    return pb.NamespaceOption(
        network=_NAMESPACES[security.network],
        pid=_NAMESPACES[security.pid],
        ipc=_NAMESPACES[security.ipc],
        target_id=security.target_id,
    )


def sandbox_config_message(config: rt.SandboxConfig) -> pb.PodSandboxConfig:
    security = config.security
    context = pb.LinuxSandboxSecurityContext(
        namespace_options=_namespaces(security),
        privileged=security.privileged,
        supplemental_groups=list(security.supplemental_groups),
        seccomp=_profile(security.seccomp),
    )
    if security.run_as_user is not None:
        context.run_as_user.value = security.run_as_user
    if security.run_as_group is not None:
        context.run_as_group.value = security.run_as_group
    message = pb.PodSandboxConfig(
        metadata=pb.PodSandboxMetadata(
            name=config.name, uid=config.uid, namespace=config.namespace, attempt=config.attempt
        ),
        hostname=config.hostname,
        log_directory=config.log_directory,
        labels=dict(config.labels),
        annotations=dict(config.annotations),
        port_mappings=[
            pb.PortMapping(
                protocol=_PROTOCOLS[port.protocol],
                container_port=port.container_port,
                host_port=port.host_port,
                host_ip=port.host_ip,
            )
            for port in config.ports
        ],
        linux=pb.LinuxPodSandboxConfig(
            cgroup_parent=config.cgroup_parent, security_context=context, sysctls=dict(config.sysctls)
        ),
    )
    if config.dns is not None:
        message.dns_config.servers.extend(config.dns.servers)
        message.dns_config.searches.extend(config.dns.searches)
        message.dns_config.options.extend(config.dns.options)
    return message


def _security_message(security: rt.Security) -> pb.LinuxContainerSecurityContext:
    message = pb.LinuxContainerSecurityContext(
        capabilities=pb.Capability(
            add_capabilities=list(security.add_capabilities), drop_capabilities=list(security.drop_capabilities)
        ),
        privileged=security.privileged,
        namespace_options=_namespaces(security),
        run_as_username=security.run_as_username,
        readonly_rootfs=security.readonly_rootfs,
        supplemental_groups=list(security.supplemental_groups),
        no_new_privs=security.no_new_privileges,
        masked_paths=list(security.masked_paths),
        readonly_paths=list(security.readonly_paths),
        seccomp=_profile(security.seccomp),
    )
    if security.run_as_user is not None:
        message.run_as_user.value = security.run_as_user
    if security.run_as_group is not None:
        message.run_as_group.value = security.run_as_group
    if security.apparmor is not None:
        message.apparmor.CopyFrom(_profile(security.apparmor))
    return message


def resources_message(resources: rt.Resources) -> pb.LinuxContainerResources:
    return pb.LinuxContainerResources(
        cpu_period=resources.cpu_period_us,
        cpu_quota=resources.cpu_quota_us,
        cpu_shares=resources.cpu_shares,
        memory_limit_in_bytes=resources.memory_limit_bytes,
        oom_score_adj=resources.oom_score_adj,
    )


def container_config_message(config: rt.ContainerConfig) -> pb.ContainerConfig:
    return pb.ContainerConfig(
        metadata=pb.ContainerMetadata(name=config.name, attempt=config.attempt),
        image=pb.ImageSpec(image=config.image, user_specified_image=config.user_image),
        command=list(config.command),
        args=list(config.args),
        working_dir=config.working_dir,
        envs=[pb.KeyValue(key=key, value=value.encode("utf-8", "surrogateescape")) for key, value in config.env],
        mounts=[
            pb.Mount(
                container_path=mount.container_path,
                host_path=mount.host_path,
                readonly=mount.readonly,
                propagation=_PROPAGATIONS[mount.propagation],
            )
            for mount in config.mounts
        ],
        labels=dict(config.labels),
        annotations=dict(config.annotations),
        log_path=config.log_path,
        stdin=config.stdin,
        stdin_once=config.stdin_once,
        tty=config.tty,
        linux=pb.LinuxContainerConfig(
            resources=resources_message(config.resources),
            security_context=_security_message(config.security),
        ),
    )


def sandbox_from(item: pb.PodSandbox) -> rt.Sandbox:
    return rt.Sandbox(
        item.id,
        item.metadata.name,
        item.metadata.namespace,
        item.metadata.uid,
        item.metadata.attempt,
        item.state == pb.SANDBOX_READY,
        _seconds(item.created_at),
    )


def sandbox_status_from(item: pb.PodSandboxStatus) -> rt.Sandbox:
    ips = [item.network.ip] if item.network.ip else []
    ips += [more.ip for more in item.network.additional_ips if more.ip]
    return rt.Sandbox(
        item.id,
        item.metadata.name,
        item.metadata.namespace,
        item.metadata.uid,
        item.metadata.attempt,
        item.state == pb.SANDBOX_READY,
        _seconds(item.created_at),
        tuple(ips),
        item.linux.namespaces.options.network == pb.NODE,
    )


def container_from(item: pb.Container) -> rt.Container:
    return rt.Container(
        item.id,
        item.pod_sandbox_id,
        item.metadata.name,
        item.labels.get(rt.POD_UID_LABEL, ""),
        item.metadata.attempt,
        _STATES.get(item.state, rt.State.UNKNOWN),
        _seconds(item.created_at),
    )


def status_from(item: pb.ContainerStatus) -> rt.ContainerStatus:
    return rt.ContainerStatus(
        item.id,
        item.metadata.name,
        item.metadata.attempt,
        _STATES.get(item.state, rt.State.UNKNOWN),
        _seconds(item.created_at),
        _seconds(item.started_at),
        _seconds(item.finished_at),
        item.exit_code,
        item.reason,
        item.message,
        item.image.image,
        item.image_ref,
        item.log_path,
        dict(item.labels),
        dict(item.annotations),
    )


def image_from(item: pb.Image) -> rt.Image:
    uid = item.uid.value if item.HasField("uid") else None
    tags, digests = tuple(item.repo_tags), tuple(item.repo_digests)
    return rt.Image(item.id, tags, digests, item.size, uid, item.username, item.pinned)


def stats_from(item: pb.ContainerStats) -> rt.ContainerStats:
    labels = item.attributes.labels
    return rt.ContainerStats(
        item.attributes.id,
        item.attributes.metadata.name,
        labels.get(rt.POD_UID_LABEL, ""),
        labels.get(rt.POD_NAME_LABEL, ""),
        labels.get(rt.POD_NAMESPACE_LABEL, ""),
        _seconds(item.cpu.timestamp),
        item.cpu.usage_core_nano_seconds.value,
        item.memory.working_set_bytes.value,
        item.memory.rss_bytes.value,
        item.writable_layer.used_bytes.value,
    )
