import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from serving.context import RequestContext
from serving.deadline import Deadline
from serving.errors import (
    CartwrightError,
    DeadlineExceeded,
    ModelContractViolated,
    ModelUnavailable,
    Overloaded,
)
from serving.models.version import ModelVersion
from serving.settings import CoalescingSettings
from serving.triton.client import TritonModelClient
from serving.triton.discovery import HostDirectory, HostRecord, HostRegistry, HostState
from serving.triton.errors import HostLost
from tests.one_version_each import OneVersionEach
from tests.tiny_models import manifest
from tests.waiting import until


@dataclass
class Host:
    """A host in memory: doubles `x`; can be held, lost, or made to answer nonsense."""

    version: int = 1
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    error: Exception | None = None
    calls: int = 0
    # Name and version of the model in each request.
    asked: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gate.set()

    async def answer(self, request: Any) -> Any:
        self.calls += 1
        self.asked.append((request.model_name, request.model_version))
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        sent = request.inputs[0]
        values = np.frombuffer(request.raw_input_contents[0], np.float32) * 2
        response = service_pb2.ModelInferResponse(model_version=str(self.version))
        response.outputs.add(name="y", datatype="FP32").shape.extend(sent.shape)
        response.raw_output_contents.append(values.tobytes())
        return response


class Network:
    """Hosts by address, connections to them, and a registry that knows them."""

    def __init__(self) -> None:
        self.hosts: dict[str, Host] = {}
        self.registry = HostRegistry()
        self.open: Counter[str] = Counter()

    def add(self, host_id: str, url: str = "", **attributes: Any) -> Host:
        url = url or f"{host_id}:1"
        self.hosts[url] = Host(**attributes)
        self.tell(host_id, url)
        return self.hosts[url]

    def tell(self, host_id: str, url: str, state: HostState = HostState.READY) -> None:
        ready = {"double": (1,)} if state is HostState.READY else {}
        self.registry.publish(HostRecord(host_id=host_id, url=url, state=state, ready_models=ready))

    def connect(self, url: str) -> "Wire":
        self.open[url] += 1
        return Wire(self, url)


class Wire:
    """A connection to a host in memory."""

    def __init__(self, network: Network, url: str) -> None:
        self._network = network
        self.url = url

    async def infer(self, request: Any, rows: int, context: RequestContext, links: Any = ()) -> Any:
        host = self._network.hosts.get(self.url)
        if host is None:
            raise HostLost(f"{self.url}: connection refused")
        return await host.answer(request)

    async def close(self, grace_s: float | None = None) -> None:
        self._network.open[self.url] -= 1


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
async def directory(network: Network) -> AsyncIterator[HostDirectory]:
    async with HostDirectory(network.registry.changes) as following:
        yield following


@pytest.fixture
async def client(network: Network, directory: HostDirectory) -> AsyncIterator[OneVersionEach]:
    made = TritonModelClient(
        directory,
        CoalescingSettings(max_under_way=4, max_waiting=2),
        rng=random.Random(7),
        connect=network.connect,
    )
    yield OneVersionEach(made, [manifest("double")])
    await made.close()


def context(milliseconds: float = 5000.0) -> RequestContext:
    return RequestContext(deadline=Deadline.after_ms(milliseconds))


X = {"x": np.array([[1.0, 2.0]], np.float32)}


async def test_an_answer_is_checked_and_its_version_noted(
    network: Network, directory: HostDirectory, client: OneVersionEach
) -> None:
    network.add("a", version=1)
    await directory.wait_until(bool, 5.0)
    request = context()
    output = await client.infer("double", X, request)
    assert output.floats("y").tolist() == [[2.0, 4.0]]
    assert output.version == 1
    assert request.model_versions == {"double": 1}


async def test_an_answer_by_another_version_is_refused(
    network: Network, directory: HostDirectory, client: OneVersionEach
) -> None:
    network.add("a", version=12)
    await directory.wait_until(bool, 5.0)
    request = context()
    with pytest.raises(ModelContractViolated, match="double/1: version 12 answered"):
        await client.infer("double", X, request)
    assert request.model_versions == {}


async def test_versions_are_asked_by_their_names_and_apart(
    network: Network, directory: HostDirectory, client: OneVersionEach
) -> None:
    """A host with a model for each version, and one with versions of one model."""
    network.add("apart")
    network.hosts["plain:1"] = Host()
    ready = {"double": (1, 2)}
    network.registry.publish(
        HostRecord(
            host_id="apart", url="apart:1", state=HostState.READY, ready_models=ready, apart=True
        )
    )
    await directory.wait_until(lambda records: bool(records and records[0].apart), 5.0)
    second = client.client.open(manifest("double", version=2))
    network.hosts["apart:1"].version = 2
    request = context()
    assert (await second.infer("double", X, request)).version == 2
    assert request.model_versions == {"double": 2}
    network.hosts["apart:1"].version = 1
    await client.infer("double", X, context())
    network.tell("apart", "", HostState.DOWN)
    network.registry.publish(
        HostRecord(host_id="plain", url="plain:1", state=HostState.READY, ready_models=ready)
    )
    await directory.wait_until(
        lambda rs: [r.state for r in rs] == [HostState.DOWN, HostState.READY], 5.0
    )
    await client.infer("double", X, context())
    assert network.hosts["apart:1"].asked == [("double.2", "2"), ("double.1", "1")]
    assert network.hosts["plain:1"].asked == [("double", "1")]


async def test_a_version_that_is_closed_answers_no_more(
    network: Network, directory: HostDirectory, client: OneVersionEach
) -> None:
    host = network.add("a")
    await directory.wait_until(bool, 5.0)
    host.gate.clear()
    under_way = asyncio.create_task(client.infer("double", X, context()))
    await until(lambda: host.calls == 1)
    client.client.close_version(ModelVersion("double", 1))
    host.gate.set()
    assert (await under_way).version == 1
    with pytest.raises(CartwrightError):
        await client.infer("double", X, context())
    assert host.calls == 1


async def test_without_a_host_the_answer_is_immediate_and_says_who_there_is(
    network: Network, directory: HostDirectory, client: OneVersionEach
) -> None:
    with pytest.raises(
        ModelUnavailable, match=r"not ready on any host: version 1 \(no host is known\)"
    ):
        await client.infer("double", X, context())
    network.tell("a", "a:1", HostState.STARTING)
    network.tell("b", "", HostState.DOWN)
    await directory.wait_until(lambda records: len(records) == 2, 5.0)
    with pytest.raises(ModelUnavailable, match=r"\(a: starting, b: down\)"):
        await client.infer("double", X, context())


async def test_the_client_of_a_version_asks_nothing_else(client: OneVersionEach) -> None:
    one = client.client.open(manifest("double"))
    with pytest.raises(ModelUnavailable, match="model triple is not double/1"):
        await one.infer("triple", X, context())


async def test_wrong_inputs_reach_no_host(
    network: Network, directory: HostDirectory, client: OneVersionEach
) -> None:
    host = network.add("a")
    await directory.wait_until(bool, 5.0)
    with pytest.raises(ModelContractViolated, match="input x: wanted FP32"):
        await client.infer("double", {"x": np.zeros((1, 2))}, context())
    assert host.calls == 0


async def test_requests_spread_by_what_is_under_way(
    network: Network, directory: HostDirectory, client: OneVersionEach
) -> None:
    hosts = [network.add(name) for name in "abc"]
    await directory.wait_until(lambda records: len(records) == 3, 5.0)
    for host in hosts:
        host.gate.clear()
    tasks = [asyncio.create_task(client.infer("double", X, context())) for _ in range(9)]
    await until(lambda: sum(host.calls for host in hosts) == 9)
    assert [host.calls for host in hosts] == [3, 3, 3]
    assert [client.in_flight(name) for name in "abc"] == [3, 3, 3]
    # The one that is done first gets the next ones.
    hosts[1].gate.set()
    await until(lambda: client.in_flight("b") == 0)
    hosts[1].gate.clear()
    tasks += [asyncio.create_task(client.infer("double", X, context())) for _ in range(3)]
    await until(lambda: hosts[1].calls == 6)
    for host in hosts:
        host.gate.set()
    await asyncio.gather(*tasks)
    assert [client.in_flight(name) for name in "abc"] == [0, 0, 0]


async def test_ties_are_broken_at_random(
    network: Network, directory: HostDirectory, client: OneVersionEach
) -> None:
    hosts = [network.add(name) for name in "ab"]
    await directory.wait_until(lambda records: len(records) == 2, 5.0)
    for _ in range(60):
        await client.infer("double", X, context())
    assert min(host.calls for host in hosts) > 15


async def test_a_lost_host_costs_one_more_try_elsewhere(
    network: Network, directory: HostDirectory, client: OneVersionEach
) -> None:
    network.tell("gone", "gone:1")
    other = network.add("other")
    await directory.wait_until(lambda records: len(records) == 2, 5.0)
    for _ in range(20):
        await client.infer("double", X, context())
    # Having nothing under way, the lost host must not attract every request first.
    assert other.calls == 20
    assert network.open["gone:1"] <= 1


async def test_a_second_loss_is_final(
    network: Network, directory: HostDirectory, client: OneVersionEach
) -> None:
    network.tell("a", "a:1")
    network.tell("b", "b:1")
    network.tell("c", "c:1")
    await directory.wait_until(lambda records: len(records) == 3, 5.0)
    with pytest.raises(HostLost):
        await client.infer("double", X, context())
    assert sum(network.open.values()) == 2


async def test_no_second_try_without_time(
    network: Network, directory: HostDirectory, client: OneVersionEach
) -> None:
    host = network.add("a", error=HostLost("lost"))
    await directory.wait_until(bool, 5.0)
    with pytest.raises(DeadlineExceeded):
        await client.infer("double", X, context(-1.0))
    assert host.calls == 0


@pytest.mark.parametrize("error", [DeadlineExceeded("late"), Overloaded("full")])
async def test_what_another_host_cannot_mend_is_not_tried_again(
    network: Network, directory: HostDirectory, client: OneVersionEach, error: Exception
) -> None:
    hosts = [network.add(name, error=error) for name in "ab"]
    await directory.wait_until(lambda records: len(records) == 2, 5.0)
    with pytest.raises(type(error)):
        await client.infer("double", X, context())
    assert sum(host.calls for host in hosts) == 1


async def test_models_share_the_places_of_a_host_and_each_has_one(
    network: Network, directory: HostDirectory, client: OneVersionEach
) -> None:
    host = network.add("a")
    ready = {"double": (1, 2)}
    network.registry.publish(
        HostRecord(host_id="a", url="a:1", state=HostState.READY, ready_models=ready, apart=True)
    )
    await directory.wait_until(lambda records: bool(records and records[0].apart), 5.0)
    second = client.client.open(manifest("double", version=2))
    host.gate.clear()

    def asked() -> Counter[str]:
        return Counter(name for name, _ in host.asked)

    def ask(model: Any, calls: int) -> list[asyncio.Task[Any]]:
        return [asyncio.create_task(model.infer("double", X, context())) for _ in range(calls)]

    # Alone, a version takes all four; one that is asked besides gets one all the same.
    tasks = ask(client, 4)
    await until(lambda: asked() == {"double.1": 4})
    tasks += ask(client, 1)
    others = ask(second, 1)
    await until(lambda: asked() == {"double.1": 4, "double.2": 1})
    others += ask(second, 1)
    await until(lambda: [one.waiting for one in client.stats().values()] == [1, 1])
    assert [one.under_way for one in client.stats().values()] == [4, 1]
    for task in tasks[:2]:
        task.cancel()
    await asyncio.wait(tasks[:2])
    # Of the four places three are taken: one is left for the call that waits here.
    await until(lambda: asked() == {"double.1": 5, "double.2": 1})
    for task in [*tasks, *others]:
        task.cancel()
    await asyncio.wait([*tasks, *others])


async def test_beyond_the_limit_requests_are_refused_at_once(
    network: Network, directory: HostDirectory, client: OneVersionEach
) -> None:
    hosts = [network.add(name) for name in "ab"]
    await directory.wait_until(lambda records: len(records) == 2, 5.0)
    for host in hosts:
        host.gate.clear()
    tasks = [asyncio.create_task(client.infer("double", X, context())) for _ in range(8)]
    await until(lambda: sum(host.calls for host in hosts) == 8)
    waiting = [asyncio.create_task(client.infer("double", X, context())) for _ in range(2)]
    await until(lambda: client.stats()[ModelVersion("double", 1)].waiting == 2)
    with pytest.raises(Overloaded, match="2 calls wait for model double"):
        await client.infer("double", X, context())
    tasks[0].cancel()
    await asyncio.wait({tasks[0]})
    for host in hosts:
        host.gate.set()
    await client.infer("double", X, context())
    await asyncio.gather(*tasks[1:], *waiting)
    assert client.in_flight("a") == client.in_flight("b") == 0


async def test_a_host_that_moved_gets_a_new_connection(
    network: Network, directory: HostDirectory, client: OneVersionEach
) -> None:
    network.add("a", "a:1")
    await directory.wait_until(bool, 5.0)
    await client.infer("double", X, context())
    moved = network.add("a", "a:2")
    await directory.wait_until(lambda records: records[0].url == "a:2", 5.0)
    await client.infer("double", X, context())
    assert moved.calls == 1
    await until(lambda: network.open["a:1"] == 0)
    assert network.open["a:2"] == 1


async def test_connections_to_hosts_that_left_are_closed(
    network: Network, directory: HostDirectory, client: OneVersionEach
) -> None:
    network.add("a")
    await directory.wait_until(bool, 5.0)
    await client.infer("double", X, context())
    network.tell("a", "", HostState.DOWN)
    await directory.wait_until(lambda records: records[0].state is HostState.DOWN, 5.0)
    network.registry.withdraw("a")
    network.add("b")
    await directory.wait_until(lambda records: [r.host_id for r in records] == ["b"], 5.0)
    await client.infer("double", X, context())
    await until(lambda: network.open["a:1"] == 0)
