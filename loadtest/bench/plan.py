"""How long everything is measured, and at which levels."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Seconds and levels of one run."""

    rounds: int
    # Of each measured load.
    seconds: float
    # From the first request of a load until its window opens, for one caller; twice as long for 64.
    ramp_seconds: float
    # Of each method after a server was started.
    warm_up_seconds: float
    # Of the bare work: each setting, and beside each load.
    limit_seconds: float
    calibration_seconds: float
    idle_seconds: float
    # Requests in flight: for what matters most, and for the rest.
    levels: tuple[int, ...]
    few_levels: tuple[int, ...]
    triton_levels: tuple[int, ...]
    # Requests in flight that are enough to saturate the stack without being refused.
    saturating: tuple[int, ...]
    # Variants that are measured only when they are asked for.
    without: tuple[str, ...] = ()
    # Distinct utterances for the loads, and for the bare work.
    texts: int
    limit_texts: int


# 27 minutes on two cores.
FULL = Plan(
    rounds=3,
    seconds=2.5,
    ramp_seconds=0.4,
    warm_up_seconds=1.0,
    limit_seconds=0.8,
    calibration_seconds=0.8,
    idle_seconds=5.0,
    levels=(1, 16, 64, 256),
    few_levels=(16, 64),
    triton_levels=(1, 16, 64),
    saturating=(32, 64),
    texts=16_384,
    limit_texts=2_048,
)
# Under three minutes; shows that the machinery works. Overload and placement need a stack of their
# own for the better part of a minute, and have tests of their own.
QUICK = Plan(
    rounds=1,
    seconds=0.6,
    ramp_seconds=0.2,
    warm_up_seconds=0.3,
    limit_seconds=0.1,
    calibration_seconds=0.2,
    idle_seconds=0.5,
    levels=(16,),
    few_levels=(8,),
    triton_levels=(8,),
    saturating=(32,),
    without=("overload", "stack-deployments"),
    texts=1_024,
    limit_texts=256,
)
