"""Which parts an API server has and how they hang together; the only place that knows all of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from argosy.host import Host
from argosy.http_pool import PooledHttp
from argosy.kinds.kind import Kind
from argosy.rpc import Network, Tls
from control_plane.apiserver.admission import order
from control_plane.apiserver.admission.chain import Chain
from control_plane.apiserver.aggregation.calls import AggregatedCalls
from control_plane.apiserver.aggregation.discovery import MergedDiscovery
from control_plane.apiserver.aggregation.manager import Aggregation
from control_plane.apiserver.allocate.services import ServiceAllocator
from control_plane.apiserver.auth.authentication import Authentication
from control_plane.apiserver.auth.authorization import Authorization
from control_plane.apiserver.auth.bootstrap_tokens import BootstrapTokens
from control_plane.apiserver.auth.node import NodeAuthorizer
from control_plane.apiserver.auth.rbac import Rbac
from control_plane.apiserver.auth.tokens import Tokens
from control_plane.apiserver.cache.feeder import Feeder
from control_plane.apiserver.config import Config
from control_plane.apiserver.crd.conversion import Conversions
from control_plane.apiserver.crd.follower import CustomResources
from control_plane.apiserver.discovery import Discovery
from control_plane.apiserver.grpc_api import GrpcApi
from control_plane.apiserver.metrics import Metrics
from control_plane.apiserver.pipeline import Pipeline
from control_plane.apiserver.request import User
from control_plane.apiserver.resources import Resources
from control_plane.apiserver.schema.catalog import Catalog
from control_plane.apiserver.schema.schemas import Schemas
from control_plane.apiserver.service_endpoints import ServiceEndpoints
from control_plane.apiserver.storage.encryption.transformer import Transformer
from control_plane.apiserver.storage.etcd import EtcdClient
from control_plane.apiserver.storage.leases import LeasePool
from control_plane.apiserver.storage.store import ROOT, Store
from control_plane.apiserver.subresources import approval, binding, eviction, scale
from control_plane.apiserver.subresources.table import Subresources
from control_plane.apiserver.subresources.token import TokenRequests
from control_plane.apiserver.verbs.context import Context
from control_plane.apiserver.virtual.access import AccessReviews
from control_plane.apiserver.virtual.identity import Identity
from control_plane.apiserver.virtual.table import VirtualKinds
from control_plane.apiserver.webhook_client import WebhookClient

EVENTS = ROOT + "events/"


@dataclass
class Parts:
    encryption: Transformer
    store: Store
    feeder: Feeder
    resources: Resources
    schemas: Schemas
    catalog: Catalog
    allocator: ServiceAllocator
    rbac: Rbac
    authorization: Authorization
    authentication: Authentication
    tokens: Tokens | None
    webhooks: WebhookClient
    aggregation: Aggregation
    pipeline: Pipeline
    grpc: GrpcApi
    metrics: Metrics
    kinds: tuple[Kind, ...]
    custom: CustomResources
    healthy: bool = False


def assemble(
    config: Config, host: Host, network: Network, http: PooledHttp, kinds: Iterable[Kind], trusted: User | None = None
) -> Parts:
    """Raises OSError and ValueError for files that cannot be read."""
    listed = tuple(kinds)
    encryption = Transformer(
        host,
        network,
        config.encryption_provider_config,
        [kind.plural for kind in listed if not kind.group],
        config.encryption_provider_config_automatic_reload,
    )
    encryption.load()
    store = _store(config, host, network, encryption)
    resources = Resources(listed)
    feeder = Feeder(store)
    for cache in resources.caches():
        feeder.add(cache)
    allocator = ServiceAllocator(config.service_cidr, config.node_port_range, host.rng)
    feeder.add_set(allocator.addresses)
    feeder.add_set(allocator.ports)
    catalog = Catalog.load(listed)
    schemas = Schemas(catalog)
    rbac = Rbac(resources)
    authorization = Authorization((NodeAuthorizer(resources), rbac))
    tokens = _tokens(config, host, resources)
    authentication = Authentication(tokens, BootstrapTokens(host.clock, resources), authorization)
    endpoints = ServiceEndpoints(resources, host.rng)
    webhooks = WebhookClient(http, endpoints, host.clock)
    aggregation = Aggregation.make(config, resources, http, endpoints)
    admission = Chain(order.plugins(config, host, store, resources, rbac, authorization, schemas, webhooks))
    context = Context(host, store, feeder, resources, schemas, admission, allocator, authorization)
    subresources = Subresources(
        {
            ("*", "*", "scale"): scale.scale,
            ("", "pods", "binding"): binding.bind,
            ("", "pods", "eviction"): eviction.evict,
            ("", "pods", "ephemeralcontainers"): approval.ephemeral_containers,
            ("", "pods", "resize"): approval.resize,
            ("", "namespaces", "finalize"): approval.finalize,
            ("", "serviceaccounts", "token"): TokenRequests(tokens).create,
            ("certificates.k8s.io", "certificatesigningrequests", "approval"): approval.approval,
        }
    )
    reviews = AccessReviews(authorization, rbac)
    identity = Identity(host, authentication, tokens)
    virtual = VirtualKinds(
        schemas,
        {
            "SubjectAccessReview": reviews.subject,
            "LocalSubjectAccessReview": reviews.local,
            "SelfSubjectAccessReview": reviews.own,
            "SelfSubjectRulesReview": reviews.rules,
            "SelfSubjectReview": identity.myself,
            "TokenReview": identity.token,
            "Binding": binding.Bindings(context, resources).create,
        },
    )
    limits = (config.max_requests_inflight, config.max_mutating_requests_inflight)
    pipeline = Pipeline(context, authorization, subresources, virtual, limits)
    custom = CustomResources(pipeline, Conversions(webhooks, host.rng))
    return Parts(
        encryption,
        store,
        feeder,
        resources,
        schemas,
        catalog,
        allocator,
        rbac,
        authorization,
        authentication,
        tokens,
        webhooks,
        aggregation,
        pipeline,
        GrpcApi(
            pipeline,
            authentication,
            custom,
            MergedDiscovery(Discovery(resources, ""), aggregation.services, aggregation.documents),
            AggregatedCalls(aggregation, authorization),
            trusted,
            (config.ca, config.kubelet_certificate, config.kubelet_key),
        ),
        Metrics(),
        listed,
        custom,
    )


def _store(config: Config, host: Host, network: Network, encryption: Transformer) -> Store:
    tls = Tls.load(config.etcd_ca, config.etcd_certificate, config.etcd_key) if config.etcd_ca else None
    client = EtcdClient(network, config.etcd_servers, tls)
    events = LeasePool(client, host.clock, config.event_ttl_s)
    return Store(client, encryption, {EVENTS: events})


def _tokens(config: Config, host: Host, resources: Resources) -> Tokens | None:
    if not config.service_account_key:
        return None
    with open(config.service_account_key, "rb") as file:
        pem = file.read()
    return Tokens(host, resources, pem, config.service_account_issuer, (config.service_account_issuer,))
