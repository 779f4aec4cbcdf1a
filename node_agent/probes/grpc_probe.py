"""Probe by the gRPC health checking protocol."""

from __future__ import annotations

from google.protobuf.message import DecodeError

from argosy.objects.types import JsonObject
from argosy.pb import health_pb2 as pb
from argosy.rpc import Code, Network, RpcError
from node_agent.hooks import port_number
from node_agent.probes.probe import Outcome, Result, Subject

METHOD = "/grpc.health.v1.Health/Check"


async def probe_grpc(network: Network, action: JsonObject, subject: Subject, timeout_s: float) -> Result:
    try:
        port = port_number(subject.container, action.get("port"))
    except ValueError as error:
        return Result(Outcome.UNKNOWN, str(error))
    host = subject.pod_ips[0] if subject.pod_ips else ""
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    service = str(action.get("service") or "")
    channel = network.dial(address)
    try:
        request = pb.HealthCheckRequest(service=service).SerializeToString()
        answer = pb.HealthCheckResponse.FromString(await channel.unary(METHOD, request, timeout_s=timeout_s))
    except RpcError as error:
        if error.code is Code.UNIMPLEMENTED:
            message = "error: this server does not implement the grpc health protocol (grpc.health.v1.Health)"
            return Result(Outcome.FAILURE, f"{message}: {error.message}")
        if error.code is Code.DEADLINE_EXCEEDED:
            return Result(Outcome.FAILURE, f"timeout: health rpc did not complete within {timeout_s:g}s")
        return Result(Outcome.FAILURE, f"error: health rpc probe failed: {error}")
    except DecodeError as error:
        return Result(Outcome.FAILURE, f"error: health rpc answer cannot be read: {error}")
    finally:
        await channel.close()
    if answer.status == pb.HealthCheckResponse.SERVING:
        return Result(Outcome.SUCCESS, f"service healthy (responded with {answer.status})")
    name = pb.HealthCheckResponse.ServingStatus.Name(answer.status)
    return Result(Outcome.FAILURE, f"service unhealthy (responded with {name!r})")
