"""Tables of what runs: deployments, model hosts, model versions."""

from collections.abc import Iterable
from datetime import UTC, datetime

from rich.table import Table
from rich.text import Text

from serving.cli.cluster import Deployment
from serving.cli.render import word
from serving.protos import commerce_pb2 as pb

DIGEST_CHARS = 12


def deployment_table(deployments: Iterable[Deployment]) -> Table:
    """Ray Serve's deployments with their replicas by state."""
    table = plain_table("deployment", "status", "replicas", "detail")
    for deployment in deployments:
        table.add_row(
            Text(f"{deployment.application}/{deployment.name}"),
            _state(deployment.status, good=deployment.status == "HEALTHY"),
            Text(
                ", ".join(f"{n} {state.lower()}" for state, n in deployment.replicas.items())
                or "none"
            ),
            Text(deployment.message),
        )
    return table


def host_table(hosts: Iterable[pb.ModelHost]) -> Table:
    """Model hosts with the state of their process."""
    table = plain_table("model host", "url", "state", "restarts", "in flight", "detail")
    for host in hosts:
        table.add_row(
            Text(host.host_id),
            Text(host.url),
            _state(
                word(pb.HostState.DESCRIPTOR, host.state), good=host.state == pb.HOST_STATE_READY
            ),
            str(host.restarts),
            str(host.in_flight),
            Text(host.detail),
        )
    return table


def model_table(models: Iterable[pb.ModelStatus]) -> Table:
    """Model versions with where they are ready."""
    table = plain_table("model", "version", "state", "hosts", "artifact", "sha256", "published")
    for model in models:
        table.add_row(
            Text(model.model),
            str(model.version),
            _state("ready" if model.ready else "not ready", good=model.ready),
            Text(", ".join(model.ready_host_ids) or "-"),
            Text(model.artifact),
            Text(model.sha256[:DIGEST_CHARS]),
            utc(model.published_at_ms),
        )
    return table


def plain_table(*columns: str) -> Table:
    """A table without lines, with these columns."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        table.add_column(column)
    return table


def _state(name: str, *, good: bool) -> Text:
    return Text(name, style="green" if good else "red")


def utc(unix_ms: int) -> str:
    """A Unix time in milliseconds as "2026-01-31 12:00 UTC"; "-" for none."""
    if not unix_ms:
        return "-"
    return datetime.fromtimestamp(unix_ms / 1000.0, UTC).strftime("%Y-%m-%d %H:%M UTC")
