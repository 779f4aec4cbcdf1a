"""The store as the API server uses it: an etcd v3 client, the object codec, writes by transaction."""
