"""For writing an aggregated API server in Python: who asks, what they may, discovery, and the HTTPS server around it.

    groups = [GroupVersion("metrics.k8s.io", "v1beta1", [ApiResource("pods", "PodMetrics", verbs=("get", "list"))])]
    server = AggregatedServer(groups, handler, Trust(client, clock), Access(client, clock), clock)
    await server.listen(["10.77.2.1:8443"], certificate_file, key_file)

`handler` gets a `Call` that is authenticated and allowed, and gives an object, a list, or (for a watch) an iterator
of events; it raises ApiError. The client needs the ClusterRole `system:auth-delegator` and the Role
`extension-apiserver-authentication-reader` in kube-system. An APIService object, whose Service's endpoint is the
server, makes the API server pass requests on.
"""
