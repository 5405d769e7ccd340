"""The model client of the stack: checks, chooses a host, asks it, checks again.

inputs ─▶ TensorContract ─▶ least loaded host that has the model ─▶ TritonConnection ─▶ outputs
                                └── one more try elsewhere when that host is lost
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from tritonclient.grpc import service_pb2

from serving.context import RequestContext
from serving.errors import ModelUnavailable, Overloaded
from serving.models.client import ModelOutput, Tensors
from serving.models.manifest import ModelManifest
from serving.triton.connection import TritonConnection
from serving.triton.discovery import HostDirectory
from serving.triton.errors import HostLost
from serving.triton.records import HostRecord
from serving.triton.tensors import TensorContract

_CLOSE_GRACE_S = 5.0
_TRIES = 2
# A host that was lost is asked last for so long. It has nothing under way, so that the choice of
# the least loaded would otherwise send everything there until its record says that it is down.
_SUSPECT_S = 1.0


class Connection(Protocol):
    """What the client needs of a connection; see `TritonConnection`."""

    @property
    def url(self) -> str:
        """host:port."""
        ...

    async def infer(self, request: Any, rows: int, context: RequestContext) -> Any:
        """Sends a request; returns the response."""
        ...

    async def close(self, grace_s: float | None = None) -> None:
        """Closes the connection."""
        ...


class TritonModelClient:
    """A `ModelClient` over the hosts of a directory; belongs to one event loop."""

    def __init__(
        self,
        directory: HostDirectory,
        manifests: Mapping[str, ModelManifest],
        *,
        max_in_flight: int = 64,
        rng: random.Random | None = None,
        connect: Callable[[str], Connection] = TritonConnection,
    ) -> None:
        """Connects to nothing yet.

        Args:
            directory: the hosts known now.
            manifests: by model; tensors are checked against them.
            max_in_flight: requests for one model under way to one host; more are refused at once.
            rng: breaks ties between hosts.
            connect: makes the connection to a host:port.
        """
        self._directory = directory
        self._contracts = {model: TensorContract(m) for model, m in manifests.items()}
        self._max_in_flight = max_in_flight
        self._rng = rng or random.Random()
        self._connect = connect
        self._connections: dict[str, Connection] = {}
        self._in_flight: Counter[str] = Counter()
        self._in_flight_of_model: Counter[tuple[str, str]] = Counter()
        # Address of a host that was lost -> when that stops to count, on the monotonic clock.
        self._suspect_until_s: dict[str, float] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def in_flight(self, host_id: str) -> int:
        """Requests that this client has under way to a host."""
        return self._in_flight[host_id]

    async def infer(self, model: str, inputs: Tensors, context: RequestContext) -> ModelOutput:
        """See `serving.models.client.ModelClient.infer`.

        Raises:
            ModelContractViolated: names, shapes or dtypes do not match the model's manifest.
            ModelUnavailable: no host has the model ready, those asked were lost, or they serve
                another version than this process has the assets of.
            Overloaded: too many requests are under way, or the model's queue is full.
            DeadlineExceeded: the remaining time ran out.
            Internal: the model failed.
        """
        contract = self._contracts.get(model)
        if contract is None:
            raise ModelUnavailable(f"model {model} is not one of {sorted(self._contracts)}")
        request = service_pb2.ModelInferRequest(model_name=model)
        rows = contract.write_inputs(inputs, request)
        tries = 0
        while True:
            host = self._choose(model)
            try:
                with self._counted(host.host_id, model):
                    response = await self._connection(host).infer(request, rows, context)
                break
            except HostLost:
                self._suspect_until_s[host.url] = time.monotonic() + _SUSPECT_S
                tries += 1
                if tries == _TRIES or context.deadline.remaining_ms() <= 0:
                    raise
        version = int(response.model_version)
        if version != contract.version:
            # Labels, vocabularies and tokenizer in this process belong to another version.
            raise ModelUnavailable(
                f"model {model}: the hosts serve version {version}, "
                f"this replica was started with version {contract.version}"
            )
        tensors = contract.read_outputs(response, rows)
        context.model_versions[model] = version
        return ModelOutput(tensors=tensors, version=version)

    async def close(self) -> None:
        """Closes all connections."""
        await asyncio.gather(*(c.close() for c in self._connections.values()), *self._closing)
        self._connections.clear()

    def _choose(self, model: str) -> HostRecord:
        """The host with the fewest requests under way; one that was just lost comes last.

        Raises:
            ModelUnavailable: no host has the model ready; says which hosts there are.
            Overloaded: all of them have as much under way as they may.
        """
        hosts = self._directory.hosts_with(model)
        if not hosts:
            raise ModelUnavailable(
                f"model {model} is not ready on any host ({self._directory.summary()})"
            )
        open_hosts = [
            host
            for host in hosts
            if self._in_flight_of_model[host.host_id, model] < self._max_in_flight
        ]
        if not open_hosts:
            raise Overloaded(
                f"{self._max_in_flight} requests for model {model} are under way to every host"
            )
        if len(open_hosts) == 1:
            return open_hosts[0]
        return min(
            open_hosts,
            key=lambda host: (
                self._is_suspect(host),
                self._in_flight[host.host_id],
                self._rng.random(),
            ),
        )

    def _is_suspect(self, host: HostRecord) -> bool:
        until_s = self._suspect_until_s.get(host.url)
        if until_s is None:
            return False
        if time.monotonic() < until_s:
            return True
        del self._suspect_until_s[host.url]
        return False

    @contextmanager
    def _counted(self, host_id: str, model: str) -> Iterator[None]:
        key = (host_id, model)
        self._in_flight[host_id] += 1
        self._in_flight_of_model[key] += 1
        try:
            yield
        finally:
            self._in_flight[host_id] -= 1
            self._in_flight_of_model[key] -= 1

    def _connection(self, host: HostRecord) -> Connection:
        connection = self._connections.get(host.host_id)
        if connection is None or connection.url != host.url:
            self._forget_all_but(self._directory.records(), host)
            connection = self._connections[host.host_id] = self._connect(host.url)
        return connection

    def _forget_all_but(self, records: tuple[HostRecord, ...], new: HostRecord) -> None:
        """Closes connections to hosts that are gone, and the one to a former address of `new`."""
        known = {record.host_id for record in records} - {new.host_id}
        for host_id in list(self._connections.keys() - known):
            task = asyncio.ensure_future(self._connections.pop(host_id).close(_CLOSE_GRACE_S))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
