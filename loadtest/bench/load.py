"""The load generator: a process of its own that asks, waits, and judges afterwards.

Closed: each of n callers sends its next request when its reply has come. Open: requests are sent at
a constant rate whatever the replies do, and their latency counts from when they were due.

Within the measured window nothing is parsed; every reply is kept and judged when it is over.
"""

import asyncio
import gc
import itertools
import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import grpc
import numpy as np
import uvloop

from loadtest.bench.wire import OK, Channel, spread
from loadtest.bench.workloads import CHECKS, DEADLINE_MS, TURNS, Workload, versions_of

_REFUSED = "RESOURCE_EXHAUSTED"
# A refused caller waits so long, as a client would.
_REFUSED_PAUSE_S = 0.1
_NAMES = {str(code.value[0]): code.name for code in grpc.StatusCode}
_REFUSED_CODE = str(grpc.StatusCode.RESOURCE_EXHAUSTED.value[0])
_NO_ANSWER = "NO_ANSWER"
_PATIENCE_S = 30.0 + DEADLINE_MS / 1000.0
_DRAIN_S = DEADLINE_MS / 1000.0 + 1.0
_FEWEST_CHANNELS, _CALLERS_A_CHANNEL = 4, 32


@dataclass(frozen=True, kw_only=True)
class Load:
    """One load to put on a server."""

    address: str
    workload: Workload
    # Callers of a closed load; of an open one, how many channels there are.
    in_flight: int
    seconds: float
    # Before the window opens.
    warm_up_s: float
    # Arrivals a second; 0 for a closed load.
    rate: float = 0.0
    # Message to begin with, so that no two loads ask the same soon.
    first: int = 0
    # Tells the conversations of one load from another's.
    run: str = ""
    # Whether every answer is told by itself, with the versions that gave it, and every refusal.
    each: bool = False


class Answer(NamedTuple):
    """One reply that came back well."""

    # When it was due to be asked, Unix time.
    at_s: float
    latency_ms: float
    # (model, version, arm) of every model that had a part in it.
    versions: tuple[tuple[str, int, str], ...]
    degraded: bool


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came back within the window."""

    requests: int
    seconds: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    errors: dict[str, int]
    # Answered RESOURCE_EXHAUSTED, and how soon; NaN if none.
    refused: int
    refused_p50_ms: float
    refused_p99_ms: float
    degraded: int
    wrong: int
    checked: int
    most_in_flight: int
    # CPU seconds that the generator itself used.
    cpu_s: float
    # Text of the first error, "" without one.
    first_error: str
    # Message after the last one that was sent.
    next: int
    # In the order in which they came; () unless asked for.
    answers: tuple[Answer, ...] = ()
    # When what was refused was due to be asked, Unix time; () unless asked for.
    refused_at_s: tuple[float, ...] = ()


class LoadGenerator:
    """The process, seen from outside. Made by `load_generator`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def run(self, load: Load, window_edge: Callable[[], None]) -> Outcome:
        """Puts the load on; `window_edge` is called when the window opens and when it closes.

        Raises:
            RuntimeError: the generator failed; with its error.
        """
        self._connection.send(load)
        for expected in ("opened", "closed"):
            said = self._receive(load)
            if said != expected:
                raise RuntimeError(f"load generator: expected {expected!r}, got {said!r}")
            window_edge()
        outcome = self._receive(load)
        assert isinstance(outcome, Outcome)
        return outcome

    def _receive(self, load: Load) -> Any:
        if not self._connection.poll(load.seconds + load.warm_up_s + _PATIENCE_S):
            raise RuntimeError("load generator: says nothing")
        said = self._connection.recv()
        if isinstance(said, BaseException):
            raise RuntimeError(f"load generator: {said!r}") from said
        return said


@contextmanager
def load_generator() -> Iterator[LoadGenerator]:
    """Starts the process for the length of the block."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    try:
        yield LoadGenerator(ours)
    finally:
        ours.close()
        process.join()


# ---- in the generator's process ----------------------------------------------------------------


def _serve(connection: Connection) -> None:
    while True:
        try:
            load: Load = connection.recv()
        except EOFError:
            return
        try:
            outcome = uvloop.run(_Run(load, connection).result())
        except Exception as error:  # noqa: BLE001 - whatever it is, the other side has to know
            connection.send(RuntimeError(repr(error)))
        else:
            connection.send(outcome)


@dataclass(slots=True)
class _Caller:
    """Who waits for a reply."""

    channel: Channel
    number: int
    sent_s: float = 0.0
    message: int = 0
    conversation: bytes = b""
    turns: int = 0


@dataclass
class _Run:
    """One load from its first to its last request."""

    load: Load
    connection: Connection
    counting: bool = False
    over: bool = False
    in_flight: int = 0
    arrival: int = 0
    most_in_flight: int = 0
    latencies_s: list[float] = field(default_factory=list)
    refusals_s: list[float] = field(default_factory=list)
    replies: list[tuple[int, bytes]] = field(default_factory=list)
    # Of each reply and of each refusal, on the clock of `time.perf_counter`.
    sent_s: list[float] = field(default_factory=list)
    refused_sent_s: list[float] = field(default_factory=list)
    statuses: dict[str, int] = field(default_factory=dict)
    first_error: str = ""

    def __post_init__(self) -> None:
        self.numbers = itertools.count(self.load.first)
        self.callers = itertools.count()
        self.conversations = itertools.count()
        self.drained = asyncio.Event()

    async def result(self) -> Outcome:
        load = self.load
        loop = asyncio.get_running_loop()
        host, _, port = load.address.rpartition(":")
        count = min(load.in_flight, max(_FEWEST_CHANNELS, -(-load.in_flight // _CALLERS_A_CHANNEL)))
        channels = []
        for _ in range(count):
            _, channel = await loop.create_connection(
                lambda: Channel(load.workload.path, load.workload.headers(), self._on_done),
                host,
                int(port),
            )
            async with asyncio.timeout(DEADLINE_MS / 1000.0):
                await channel.ready
            channels.append(channel)
        gc.collect()
        gc.disable()
        self._start(channels)
        await asyncio.sleep(load.warm_up_s)
        self.connection.send("opened")
        began_s, used_s = time.perf_counter(), time.process_time()
        self.counting = True
        await asyncio.sleep(load.seconds)
        self.counting = False
        took_s, used_s = time.perf_counter() - began_s, time.process_time() - used_s
        self.connection.send("closed")
        self.over = True
        await self._drain()
        gc.enable()
        for channel in channels:
            channel.close()
        return self._outcome(took_s, used_s)

    def _start(self, channels: list[Channel]) -> None:
        if not self.load.rate:
            for channel in spread(channels, self.load.in_flight):
                self._send(_Caller(channel, next(self.callers)), time.perf_counter())
            return
        loop = asyncio.get_running_loop()
        began_s = time.perf_counter()
        arrivals = itertools.count()
        turn = itertools.cycle(channels)

        def send_due() -> None:
            now_s = time.perf_counter()
            while not self.over:
                due_s = began_s + self.arrival / self.load.rate
                if due_s > now_s:
                    loop.call_later(due_s - now_s, send_due)
                    return
                self._send(_Caller(next(turn), next(self.callers)), due_s)
                self.arrival = next(arrivals)

        self.arrival = next(arrivals)
        send_due()

    def _send(self, caller: _Caller, due_s: float) -> None:
        workload = self.load.workload
        caller.sent_s = due_s
        caller.message = next(self.numbers) % len(workload.messages)
        message = workload.messages[caller.message]
        if workload.conversations:
            if caller.turns % TURNS == 0:
                number = next(self.conversations)
                caller.conversation = workload.conversation(f"{self.load.run}-{number}", number)
            caller.turns += 1
            message += caller.conversation
        self.in_flight += 1
        if self.in_flight > self.most_in_flight:
            self.most_in_flight = self.in_flight
        caller.channel.send(caller, message)

    def _on_done(self, caller: _Caller, status: str, content: bytes) -> None:
        now_s = time.perf_counter()
        self.in_flight -= 1
        if self.counting:
            self.statuses[status] = self.statuses.get(status, 0) + 1
            if status == OK:
                self.latencies_s.append(now_s - caller.sent_s)
                self.sent_s.append(caller.sent_s)
                self.replies.append((caller.message, content))
            elif status == _REFUSED_CODE:
                self.refusals_s.append(now_s - caller.sent_s)
                self.refused_sent_s.append(caller.sent_s)
        if status != OK and not self.first_error:
            self.first_error = f"{_NAMES.get(status, status)}: {content.decode(errors='replace')}"
        if self.over:
            if not self.in_flight:
                self.drained.set()
        elif not self.load.rate:
            if status == OK:
                self._send(caller, now_s)
            else:
                # In a moment: an error that comes at once must not become a busy loop.
                asyncio.get_running_loop().call_later(_REFUSED_PAUSE_S, self._again, caller)

    def _again(self, caller: _Caller) -> None:
        if not self.over:
            self._send(caller, time.perf_counter())

    async def _drain(self) -> None:
        if self.in_flight:
            try:
                async with asyncio.timeout(_DRAIN_S):
                    await self.drained.wait()
            except TimeoutError:
                self.statuses[_NO_ANSWER] = self.in_flight
                self.first_error = self.first_error or "no answer long after the deadline"

    def _outcome(self, took_s: float, used_s: float) -> Outcome:
        workload = self.load.workload
        check = CHECKS[workload.check]
        verdicts = [check(reply, workload.expected.get(n)) for n, reply in self.replies]
        p50, p90, p99 = _percentiles_ms(self.latencies_s, (50, 90, 99))
        refused_p50, refused_p99 = _percentiles_ms(self.refusals_s, (50, 99))
        errors = _named(self.statuses)
        return Outcome(
            requests=len(self.latencies_s),
            seconds=took_s,
            p50_ms=p50,
            p90_ms=p90,
            p99_ms=p99,
            refused=errors.pop(_REFUSED, 0),
            refused_p50_ms=refused_p50,
            refused_p99_ms=refused_p99,
            errors=errors,
            degraded=sum(verdict.degraded for verdict in verdicts),
            wrong=sum(verdict.wrong is True for verdict in verdicts),
            checked=sum(verdict.wrong is not None for verdict in verdicts),
            most_in_flight=self.most_in_flight,
            cpu_s=used_s,
            first_error=self.first_error,
            next=next(self.numbers),
            answers=self._answers() if self.load.each else (),
            refused_at_s=tuple(map(_unix_s, self.refused_sent_s)) if self.load.each else (),
        )

    def _answers(self) -> tuple[Answer, ...]:
        return tuple(
            Answer(_unix_s(sent_s), latency_s * 1000.0, *versions_of(self.load.workload, reply))
            for sent_s, latency_s, (_, reply) in zip(
                self.sent_s, self.latencies_s, self.replies, strict=True
            )
        )


def _unix_s(performance_s: float) -> float:
    """A time of `time.perf_counter` as Unix time."""
    return performance_s + (time.time() - time.perf_counter())


def _percentiles_ms(seconds: Sequence[float], shares: Sequence[float]) -> list[float]:
    return [float(p) for p in np.percentile(np.array(seconds or [np.nan]) * 1000.0, shares)]


def _named(statuses: Mapping[str, int]) -> dict[str, int]:
    """Counts of what was not OK by the status's name."""
    return {_NAMES.get(code, code): count for code, count in statuses.items() if code != OK}
