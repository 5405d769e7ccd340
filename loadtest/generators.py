"""Watches the processes that make the load: a bottleneck there is no finding about the stack."""

import time
from collections.abc import Callable, Sequence

import psutil

from loadtest.measures import Measure
from loadtest.record import Sample

# Beyond these the run says more about its generator than about the stack.
MOST_CPU_SHARE = 0.8
MOST_LATENESS_P99_MS = 20.0
MOST_OVERTIME_MS = 100.0
# Short bursts are no bottleneck: a process is busy if it is above the limit in so many of its
# samples.
BUSY_SHARE = 0.1


class ProcessWatch:
    """CPU of this process between two looks."""

    def __init__(self, name: str, clock: Callable[[], float] = time.perf_counter) -> None:
        """Starts watching.

        Args:
            name: how the process is called in the report.
            clock: seconds since any point.
        """
        self._name = name
        self._clock = clock
        self._process = psutil.Process()
        self._cpu_s = self._used_s()
        self._at_s = clock()

    def sample(self, *, at_s: float, in_flight: int, users: int) -> Sample:
        """What the process did since the last look.

        Args:
            at_s: seconds since the start of the run.
            in_flight: calls under way.
            users: users that run.
        """
        cpu_s, now_s = self._used_s(), self._clock()
        share = (cpu_s - self._cpu_s) / max(now_s - self._at_s, 1e-6)
        self._cpu_s, self._at_s = cpu_s, now_s
        return Sample(
            process=self._name, at_s=at_s, cpu_share=share, in_flight=in_flight, users=users
        )

    def _used_s(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)


def cpu_share_p90(samples: Sequence[Sample]) -> dict[str, float]:
    """By process, the share of a core that it stayed below for nine tenths of the time."""
    by_process: dict[str, list[float]] = {}
    for sample in samples:
        by_process.setdefault(sample.process, []).append(sample.cpu_share)
    return {
        process: sorted(shares)[int((1 - BUSY_SHARE) * (len(shares) - 1))]
        for process, shares in sorted(by_process.items())
    }


def warnings(samples: Sequence[Sample], measured: Measure, deadline_ms: float) -> list[str]:
    """Why the figures may be the generator's own; empty if they are not.

    Args:
        samples: looks at the processes during the measured time.
        measured: everything that was sent in it.
        deadline_ms: of each call; gRPC ends a call there, whatever the stack does.
    """
    found = [
        f"generator process {process} used {share:.0%} of a core (limit {MOST_CPU_SHARE:.0%}): "
        "use more processes or machines"
        for process, share in cpu_share_p90(samples).items()
        if share > MOST_CPU_SHARE
    ]
    lateness_ms = measured.lateness.p99_ms
    if lateness_ms is not None and lateness_ms > MOST_LATENESS_P99_MS:
        found.append(
            f"calls were sent late: p99 {lateness_ms:.0f} ms (limit {MOST_LATENESS_P99_MS:.0f} "
            "ms); latencies include it"
        )
    overtime_ms = measured.longest_service_ms - deadline_ms
    if overtime_ms > MOST_OVERTIME_MS:
        found.append(
            f"a call ended {overtime_ms:.0f} ms after its deadline (limit {MOST_OVERTIME_MS:.0f} "
            "ms): the generator takes in replies too late"
        )
    if measured.saturated_share > 0:
        found.append(
            f"{measured.saturated_share:.1%} of the calls were never sent: the generator had as "
            "much under way as --max-in-flight allows"
        )
    return found
