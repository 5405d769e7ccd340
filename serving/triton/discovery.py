"""Which model hosts there are: told by the hosts, kept by a registry, followed by every replica.

TritonHost ──publish──▶ HostRegistry ──changes (long poll)──▶ HostDirectory ──▶ TritonModelClient
StaticHosts (given as URLs) ───────────changes────────────────┘

The registry is a plain class; a Ray actor makes it reachable from other processes.
"""

from serving.triton.directory import Changes, HostDirectory
from serving.triton.records import HostRecord, HostState, Publish
from serving.triton.registry import HostRegistry
from serving.triton.static_hosts import StaticHosts

__all__ = [
    "Changes",
    "HostDirectory",
    "HostRecord",
    "HostRegistry",
    "HostState",
    "Publish",
    "StaticHosts",
]
