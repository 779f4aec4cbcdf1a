"""Ingress: what the Ingress objects say, as the configuration of an nginx that this process keeps."""
