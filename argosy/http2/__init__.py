"""The server's side of gRPC: HTTP/2 on asyncio, bytes in and bytes out.

Why not grpc.aio, which serves as well: there a call costs 215 µs of processor time around its handler, and the store
and the API server's watches are bound by just that. Only serving is here; gRPC's own library dials.

`server` listens, `connection` is one client's frames and flow control, `stream` one call, `headers` what HPACK
carries, `frames` the numbers of RFC 9113. Callers use it through `argosy.rpc`.
"""
