"""Gate `latency`: is a version slower than the live one under the same load on the same host?

    live ─▶ candidate │ candidate ─▶ live │ live ─▶ candidate │ …      one server, one generator

Both are loaded all the time and asked in turn, in short rounds: what drifts or disturbs meets both.
Each round gives a ratio of throughput, p50 and p99; `ratios` has what the rounds say together. The
number of rounds is fixed beforehand, since to go on until the answer pleases would spoil it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from model_build.promotion.finding import Finding, together
from model_build.promotion.ratios import CONFIDENCE, FEWEST_ROUNDS, Ratio, ratio_of
from model_build.serving_profile import TunedHosting
from model_build.tune.figures import Look
from model_build.tune.host import PointFailed, PointHost
from model_build.tune.schedule import LEAD_IN_S
from serving.errors import StartupError
from serving.versions.verdict import Figure, Outcome

# Length of one look at one version. What disturbs a machine comes in bursts of seconds: many short
# rounds say more than few long ones.
LOOK_S = 1.0
_ROUND_S = 2 * (LOOK_S + LEAD_IN_S)
_THROUGHPUT = "requests_per_s"
_MEASURES: dict[str, Callable[[Look], float]] = {
    _THROUGHPUT: lambda look: look.requests_per_s,
    "p50": lambda look: look.p50_ms,
    "p99": lambda look: look.p99_ms,
}
# Told how many rounds are done, and of how many.
Watch = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class LatencyOptions:
    """What is measured, and what is taken."""

    # Of both versions.
    hosting: TunedHosting
    # Requests in flight.
    concurrency: int = 8
    rounds: int
    # By what share p50 and p99 may be longer and throughput smaller.
    slower: float = 0.1

    def __post_init__(self) -> None:
        """Refuses what can decide nothing.

        Raises:
            ValueError: the rounds are too few.
        """
        if self.rounds < FEWEST_ROUNDS:
            least = FEWEST_ROUNDS * _ROUND_S / 60.0
            raise ValueError(
                f"{self.rounds} rounds, at least {FEWEST_ROUNDS} are needed: {least:.2f} minutes"
            )


def rounds_in(seconds: float) -> int:
    """How many rounds fit into so long."""
    return int(seconds / _ROUND_S)


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """Looks at both versions; those of one round stand at the same place."""

    candidate: list[Look]
    live: list[Look]


async def measure(
    candidate: PointHost, live: PointHost, options: LatencyOptions, watch: Watch
) -> Rounds:
    """Loads both versions and looks at them in turn.

    Args:
        candidate: hosts the version to be promoted.
        live: hosts the live one, on the same server.
        options: how to measure.
        watch: told how far it is.

    Raises:
        PointFailed: the candidate cannot be loaded or does not answer.
        StartupError: the same of the live version.
        ServerLost: the server ended.
    """
    rounds = Rounds(candidate=[], live=[])
    ours, theirs = (candidate, rounds.candidate), (live, rounds.live)
    for number in range(options.rounds + 1):
        for host, looks in (theirs, ours) if number % 2 else (ours, theirs):
            try:
                await host.load(options.hosting)
                look = await host.look(options.hosting, options.concurrency, LOOK_S)
            except PointFailed as error:
                if host is live:
                    raise StartupError(f"the live version cannot be measured: {error}") from error
                raise
            # The first round warms up: caches and arenas are as they stay.
            if number:
                looks.append(look)
        watch(number, options.rounds)
    return rounds


def judge_latency(rounds: Rounds, options: LatencyOptions) -> Finding:
    """Passed if the candidate is known to be no slower than it may be, failed if known to be."""
    figures: list[Figure] = []
    ratios: list[Ratio] = []
    for name, read in _MEASURES.items():
        ours, theirs = [read(x) for x in rounds.candidate], [read(x) for x in rounds.live]
        longer = name != _THROUGHPUT
        unit = "ms" if longer else ""
        ratio = ratio_of(
            name,
            ours,
            theirs,
            at_least=None if longer else 1.0 - options.slower,
            at_most=1.0 + options.slower if longer else None,
        )
        figures += [
            Figure(name=name, value=median(ours), unit=unit),
            Figure(name=f"{name}_of_live", value=median(theirs), unit=unit),
            ratio.figure,
        ]
        ratios.append(ratio)
    outcome = together(ratio.outcome for ratio in ratios)
    shown = "; ".join(ratio.text for ratio in ratios if ratio.outcome is outcome)
    errors = sum(look.errors for look in rounds.candidate)
    if errors:
        of = errors + sum(look.requests for look in rounds.candidate)
        outcome, shown = Outcome.FAILED, f"{errors} of {of} requests failed"
    return Finding(
        outcome=outcome,
        reason=f"{_BEGINNINGS[outcome]} ({options.concurrency} in flight, {options.rounds} rounds, "
        f"{CONFIDENCE:.0%} confidence): {shown}.",
        figures=tuple(figures),
    )


_BEGINNINGS = {
    Outcome.PASSED: "No slower than it may be",
    Outcome.FAILED: "Slower than it may be",
    Outcome.UNDECIDED: "Too noisy to tell; give more minutes, or a machine at rest",
}
