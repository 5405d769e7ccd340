"""The model client of the stack: checks, coalesces, chooses a host, asks it, checks again.

inputs ─▶ TensorContract ─▶ Coalescer of the version ─▶ a batch ─▶ least loaded host ─▶ outputs
                                                            └─ one more try elsewhere if it is lost

Each version of a model that is open has a lane of its own: calls of different versions never meet.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

from opentelemetry import trace
from opentelemetry.trace import Link, SpanKind
from tritonclient.grpc import service_pb2

from serving.coalescing.coalescer import Coalescer, CoalescerStats
from serving.context import RequestContext
from serving.deadline import Deadline
from serving.errors import Internal, ModelContractViolated, ModelUnavailable
from serving.models.client import ModelClient, ModelOutput, Tensors
from serving.models.manifest import ModelManifest
from serving.models.version import ModelVersion
from serving.settings import CoalescingSettings
from serving.telemetry.tracer import Attributes, open_span
from serving.triton.batches import Asked, Joining, ModelCall
from serving.triton.connection import TritonConnection
from serving.triton.discovery import HostDirectory
from serving.triton.errors import HostLost
from serving.triton.records import HostRecord
from serving.triton.served import served_name
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

    async def infer(
        self, request: Any, rows: int, context: RequestContext, links: Sequence[Link] = ()
    ) -> Any:
        """Sends a request; returns the response."""
        ...

    def close(self, grace_s: float | None = None) -> Coroutine[Any, Any, None]:
        """Closes the connection."""
        ...


class _Lane:
    """What belongs to one version: its contract, how its calls are joined, and who waits."""

    def __init__(self, version: ModelVersion, contract: TensorContract, joining: Joining) -> None:
        self.version = version
        self.contract = contract
        self.joining = joining
        self.coalescer: Coalescer[Asked, ModelOutput]


Infer = Callable[[_Lane, Tensors, RequestContext], Awaitable[ModelOutput]]


class _OneVersion:
    """A `ModelClient` that asks one version of one model."""

    def __init__(self, lane: _Lane, infer: Infer) -> None:
        self._lane = lane
        self._infer = infer

    async def infer(self, model: str, inputs: Tensors, context: RequestContext) -> ModelOutput:
        """See `serving.models.client.ModelClient.infer`."""
        if model != self._lane.version.model:
            raise ModelUnavailable(f"model {model} is not {self._lane.version}")
        return await self._infer(self._lane, inputs, context)


class TritonModelClient:
    """The versions that are open, over the hosts of a directory; belongs to one event loop."""

    def __init__(
        self,
        directory: HostDirectory,
        coalescing: CoalescingSettings | None = None,
        *,
        rng: random.Random | None = None,
        connect: Callable[[str], Connection] = TritonConnection,
    ) -> None:
        """Connects to nothing yet.

        Args:
            directory: the hosts known now.
            coalescing: how concurrent calls for one version are sent together.
            rng: breaks ties between hosts.
            connect: makes the connection to a host:port.
        """
        self._directory = directory
        self._rng = rng or random.Random()
        self._connect = connect
        self._connections: dict[str, Connection] = {}
        # Calls under way by host.
        self._in_flight: Counter[str] = Counter()
        # Address of a host that was lost -> when that stops to count, on the monotonic clock.
        self._suspect_until_s: dict[str, float] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._limits = coalescing or CoalescingSettings()
        self._lanes: dict[ModelVersion, _Lane] = {}

    def open(self, manifest: ModelManifest) -> ModelClient:
        """A client of one version; its tensors are checked against the manifest."""
        version = ModelVersion(manifest.model, manifest.version)
        lane = self._lanes[version] = self._lane(version, manifest)
        return _OneVersion(lane, self._infer)

    def close_version(self, version: ModelVersion) -> None:
        """Ends what waits for a version; what is under way finishes."""
        lane = self._lanes.pop(version, None)
        if lane is not None:
            self._finish(lane.coalescer.close())

    def _finish(self, closing: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(closing)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _lane(self, version: ModelVersion, manifest: ModelManifest) -> _Lane:
        limits = self._limits
        lane = _Lane(
            version, TensorContract(manifest), Joining(manifest, max_padding=limits.max_padding)
        )
        largest = lane.contract.max_batch_size
        lane.coalescer = Coalescer(
            f"model {version.model}",
            partial(self._send, lane),
            places=partial(self._places, lane),
            max_rows=min(limits.max_rows, largest) if lane.joining.padded else largest,
            max_waiting=limits.max_waiting,
            choose=lane.joining.choose,
            splits_on=(Internal,),
        )
        return lane

    def _places(self, lane: _Lane) -> int:
        """Batches that a version may have under way: what the others leave, at least one a host.

        A version that is asked alone keeps all instances busy. Where several are, the cores are
        busy anyway, and a second batch would only make both smaller. A place that another version
        leaves is taken with the next call, or when one of its own batches is back.
        """
        # Without a host, a batch has to leave all the same to learn so.
        hosts = max(1, len(self._directory.hosts_with(lane.version)))
        under_way = sum(other.coalescer.under_way for other in self._lanes.values())
        others = under_way - lane.coalescer.under_way
        return max(hosts, hosts * self._limits.max_under_way - others)

    def in_flight(self, host_id: str) -> int:
        """Calls that this client has under way to a host."""
        return self._in_flight[host_id]

    def stats(self) -> Mapping[ModelVersion, CoalescerStats]:
        """By version: batches that left, and what waits now."""
        return {version: lane.coalescer.stats() for version, lane in self._lanes.items()}

    async def close(self) -> None:
        """Ends what waits, lets what is under way finish, and closes all connections."""
        await asyncio.gather(*(lane.coalescer.close() for lane in self._lanes.values()))
        await asyncio.gather(*(c.close() for c in self._connections.values()), *self._closing)
        self._connections.clear()

    async def _infer(self, lane: _Lane, inputs: Tensors, context: RequestContext) -> ModelOutput:
        """See `ModelClient.infer`.

        Raises:
            ModelContractViolated: names, shapes or dtypes do not match the version's manifest.
            ModelUnavailable: no host has the version ready, or those asked were lost.
            Overloaded: too many calls for the version wait here, or in its queue.
            DeadlineExceeded: the remaining time ran out.
            Internal: the model failed.
        """
        rows = lane.contract.check_inputs(inputs)
        if not self._directory.hosts_with(lane.version):
            raise self._no_host(lane.version)
        if context.span_context is None:
            asked = lane.joining.asked(inputs, rows, None)
            output = await lane.coalescer.result(
                lane.coalescer.submit(asked, rows, context.deadline)
            )
        else:
            output = await self._infer_traced(lane, inputs, rows, context)
        context.model_versions[lane.version.model] = lane.version.version
        return output

    async def _infer_traced(
        self, lane: _Lane, inputs: Tensors, rows: int, context: RequestContext
    ) -> ModelOutput:
        """The same with a span over waiting and answer; the batch's span is below the first's."""
        assert context.span_context is not None
        model, version = lane.version
        attributes: Attributes = {
            "cartwright.model": model,
            "cartwright.model.version": str(version),
            "cartwright.rows": rows,
        }
        with open_span(
            f"infer {model}", context.span_context, SpanKind.INTERNAL, attributes
        ) as span:
            below = None if span is None else trace.set_span_in_context(span, context.span_context)
            call = lane.coalescer.submit(
                lane.joining.asked(inputs, rows, below), rows, context.deadline
            )
            try:
                return await lane.coalescer.result(call)
            finally:
                if span is not None and call.batch_rows:
                    span.set_attribute("cartwright.batch.rows", call.batch_rows)
                    span.set_attribute("cartwright.batch.departure", call.departure)
                    span.set_attribute("cartwright.batch.waited_ms", call.waited_ms)

    async def _send(
        self, lane: _Lane, calls: Sequence[ModelCall], deadline: Deadline
    ) -> Sequence[ModelOutput]:
        """Carries one batch to a host, and once more to another when that is lost."""
        rows = sum(call.rows for call in calls)
        version = lane.version
        request = service_pb2.ModelInferRequest(model_version=str(version.version))
        lane.contract.write_inputs(lane.joining.join(calls), request)
        traced = [c.item.span_context for c in calls if c.item.span_context is not None]
        context = RequestContext(deadline=deadline, span_context=traced[0] if traced else None)
        links = [Link(trace.get_current_span(c).get_span_context()) for c in traced[1:]]
        tries = 0
        while True:
            host = self._choose(version)
            request.model_name = served_name(version) if host.apart else version.model
            try:
                with self._counted(host.host_id, len(calls)):
                    response = await self._connection(host).infer(request, rows, context, links)
                break
            except HostLost:
                self._suspect_until_s[host.url] = time.monotonic() + _SUSPECT_S
                tries += 1
                if tries == _TRIES or deadline.remaining_ms() <= 0:
                    raise
        if response.model_version != request.model_version:
            raise ModelContractViolated(f"{version}: version {response.model_version} answered")
        tensors = lane.contract.read_outputs(response, rows)
        return lane.joining.split(ModelOutput(tensors=tensors, version=version.version), calls)

    def _choose(self, version: ModelVersion) -> HostRecord:
        """The host with the fewest calls under way; one that was just lost comes last.

        Raises:
            ModelUnavailable: no host has the version ready; says which hosts there are.
        """
        hosts = self._directory.hosts_with(version)
        if not hosts:
            raise self._no_host(version)
        if len(hosts) == 1:
            return hosts[0]
        return min(
            hosts,
            key=lambda host: (
                self._is_suspect(host),
                self._in_flight[host.host_id],
                self._rng.random(),
            ),
        )

    def _no_host(self, version: ModelVersion) -> ModelUnavailable:
        return ModelUnavailable(
            f"model {version.model} is not ready on any host: version {version.version} "
            f"({self._directory.summary()})"
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
    def _counted(self, host_id: str, calls: int) -> Iterator[None]:
        self._in_flight[host_id] += calls
        try:
            yield
        finally:
            self._in_flight[host_id] -= calls

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
            self._finish(self._connections.pop(host_id).close(_CLOSE_GRACE_S))
