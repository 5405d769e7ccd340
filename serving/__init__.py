"""Cartwright's request path: ingress, steps, pipelines, model hosts. Imports nothing offline."""
