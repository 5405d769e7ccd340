"""Cartwright's request path: gRPC ingress, steps, pipelines and model hosts. Imports nothing offline."""
