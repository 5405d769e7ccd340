"""One process's part of a run: its clock, its connections, and what it has measured so far."""

from collections.abc import Callable
from time import perf_counter, time
from typing import Any

import gevent
import gevent.pool
import numpy as np
from google.protobuf.message import Message
from grpc.experimental.gevent import init_gevent

from loadtest import outcomes
from loadtest.arrivals import arrival_times
from loadtest.calls import Call
from loadtest.dispatch import Dispatcher, Due
from loadtest.generators import ProcessWatch
from loadtest.mix import Mix
from loadtest.outcomes import Outcome
from loadtest.plan import Plan
from loadtest.population import Population, read_shop
from loadtest.record import Record
from loadtest.sender import Sender
from loadtest.stubs import StubPool
from serving.cli.connection import default_address

SAMPLE_PERIOD_S = 1.0


class Session:
    """What the users of one process share; in the master, what all of them have measured."""

    def __init__(self, plan: Plan) -> None:
        """Reads what load is made of; sends nothing.

        Raises:
            ShopUnreadable: the shop's files cannot be used.
        """
        self.plan = plan
        # Wall clock, for the report's heading.
        self.began_at = time()
        self.address = ""
        self._content = read_shop(plan.shop)
        self._record = Record(plan.slot_s)
        self._origin_s = perf_counter()
        self._share = 1.0
        self._index = 0
        self._pool: StubPool | None = None
        self._sampler: gevent.Greenlet | None = None

    @property
    def record(self) -> Record:
        """Everything measured that has not been drained."""
        return self._record

    def reset(self, address: str) -> None:
        """Forgets what was measured: another run begins."""
        self.address = address or default_address()
        self.began_at = time()
        self._origin_s = perf_counter()
        self._record = Record(self.plan.slot_s)

    def begin(
        self, plan: Plan, *, address: str, index: int, processes: int, users: Callable[[], int]
    ) -> None:
        """Begins a run in a process that makes calls.

        Args:
            plan: what is run; the master's, which may be another than this process started with.
            address: host:port of the stack; "" for the one that runs in this folder.
            index: number of this process, from 0.
            processes: number of processes that share the load.
            users: how many users run in this process.
        """
        # gRPC would otherwise block all greenlets; late, because Locust forks before this.
        init_gevent()
        if plan.shop != self.plan.shop:
            self._content = read_shop(plan.shop)
        self.plan = plan
        self.reset(address)
        self._index, self._share = index, 1.0 / processes
        if self._pool is not None:
            self._pool.close()
        self._pool = StubPool(self.address, self.plan.channels)
        self._sender = Sender(self._pool, self.plan.deadline_ms, perf_counter)
        # Processes draw differently, and the same in every run.
        seeds = np.random.SeedSequence([self.plan.seed, index]).spawn(2)
        self._gaps = np.random.default_rng(seeds[0])
        self.population = Population(self._content, np.random.default_rng(seeds[1]))
        self.mix = Mix(self.plan.mix, self.population)
        if self._sampler is not None:
            self._sampler.kill()
        self._sampler = gevent.spawn(self._sample, self._pool, users)

    def now_s(self) -> float:
        """Seconds since the start of the run."""
        return perf_counter() - self._origin_s

    def call(self, call: Call) -> tuple[Outcome, Message | None]:
        """Makes a call now and counts it."""
        outcome, reply = self._sender.send(call, scheduled_s=self.now_s())
        self._record.add(outcome)
        return outcome, reply

    def run_schedule(self, report: Callable[[Outcome], None]) -> None:
        """Sends this process's part of the arrivals; returns when the last call has ended."""
        shape = self.plan.shape
        assert shape is not None
        group = gevent.pool.Group()

        def send(due: Due) -> None:
            outcome, _ = self._sender.send(
                self.mix.draw(), scheduled_s=due.scheduled_s, lateness_s=due.lateness_s
            )
            self._record.add(outcome)
            report(outcome)

        def drop(due: Due) -> None:
            outcome = Outcome(
                method=self.mix.draw().method,
                name=outcomes.GENERATOR_SATURATED,
                scheduled_s=due.scheduled_s,
            )
            self._record.add(outcome)
            report(outcome)

        dispatcher = Dispatcher(
            now_s=self.now_s,
            sleep_s=gevent.sleep,
            start=group.spawn,
            send=send,
            drop=drop,
            max_in_flight=self.plan.max_in_flight,
        )
        schedule = arrival_times(
            shape.level,
            spacing=self.plan.spacing,
            generator=self._gaps,
            share=self._share,
            offset=self._index * self._share,
        )
        dispatcher.run(schedule)
        group.join(timeout=self.plan.drain_s)

    def drain(self) -> dict[str, Any]:
        """What was measured since the last time, as plain values."""
        record, self._record = self._record, Record(self.plan.slot_s)
        return record.packed()

    def merge(self, packed: dict[str, Any]) -> None:
        """Adds what another process has drained."""
        self._record.merge(Record.unpacked(packed))

    def _sample(self, pool: StubPool, users: Callable[[], int]) -> None:
        watch = ProcessWatch(str(self._index + 1))
        while True:
            gevent.sleep(SAMPLE_PERIOD_S)
            self._record.samples.append(
                watch.sample(at_s=self.now_s(), in_flight=pool.in_flight, users=users())
            )
