"""Metrics by Prometheus conventions."""
