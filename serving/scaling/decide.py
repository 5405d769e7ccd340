"""The rules of scaling: pure, the same for every deployment.

    observation ─▶ signal ─▶ bounds, cool-downs ─▶ decision, next state

Up at once and as far as the load asks; down one at a time, and only after the load has left room
without interruption for the whole cool-down. What is not known changes nothing.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from serving.scaling.observation import Observation
from serving.scaling.signals import CALM, Signal, Target

# For how many cool-downs it is remembered what overloaded a host: the mix of requests changes. The
# time doubles, so many times at most, with each time that it was true again.
LIMIT_MEMORY = 10
_DOUBLINGS = 6


class Action(StrEnum):
    """What a decision does."""

    UP = "up"
    DOWN = "down"
    HOLD = "hold"


class Reason(StrEnum):
    """Why, in a word."""

    # The number was outside its bounds.
    BOUNDS = "bounds"
    # The load is above its target.
    LOAD = "load"
    # The load left room for one fewer throughout the cool-down.
    ROOM = "room"
    # The load fits the number.
    STEADY = "steady"
    # No replica runs yet, or none reported lately.
    NO_METRICS = "no metrics"
    # The load left room, but some replica did not report lately.
    SOME_METRICS = "some metrics missing"
    # More or fewer are wanted, but a change was made a moment ago.
    COOL_DOWN_UP = "cool-down up"
    COOL_DOWN_DOWN = "cool-down down"
    # More or fewer are wanted than are allowed.
    AT_MAXIMUM = "at maximum"
    AT_MINIMUM = "at minimum"
    # Replicas that were decided on are still starting.
    STARTING = "starting"


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What a deployment may do, and when."""

    minimum: int
    maximum: int
    target: Target
    # Seconds between two steps up, and of uninterrupted room before a step down.
    cool_down_up_s: float
    cool_down_down_s: float
    # Age in seconds from which a report counts as missing.
    stale_after_s: float


@dataclass(frozen=True, kw_only=True)
class Limit:
    """What overloaded a host, until when it counts, and how often in a row it was confirmed."""

    rows_per_s: float
    until_s: float
    confirmed: int = 0


@dataclass(frozen=True, kw_only=True)
class State:
    """What is kept between two decisions; times are on the observations' clock."""

    last_up_s: float | None = None
    # Since when the load has left room for one fewer.
    room_since_s: float | None = None
    limit: Limit | None = None


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The number to aim at, and why."""

    action: Action
    target: int
    reason: Reason
    text: str
    # Load as a share of its target; None when it is not known.
    pressure: float | None = None


def decide(rules: Rules, state: State, seen: Observation) -> tuple[Decision, State]:
    """Decides once; to be called about once a second.

    Args:
        rules: of this deployment.
        state: what the last call returned; `State()` at first.
        seen: the deployment now.
    """
    bounded = min(max(seen.target, rules.minimum), rules.maximum)
    if bounded != seen.target:
        action = Action.UP if bounded > seen.target else Action.DOWN
        text = f"bounds are {rules.minimum} to {rules.maximum}"
        decision = Decision(action=action, target=bounded, reason=Reason.BOUNDS, text=text)
        return decision, replace(state, room_since_s=None)
    fresh = seen.fresh(rules.stale_after_s)
    if not fresh or not seen.running:
        text = f"no report from {seen.running} running in the last {rules.stale_after_s:g} s"
        return _hold(seen, Reason.NO_METRICS, text), replace(state, room_since_s=None)
    signal = rules.target.signal(seen, fresh, _limit(state, seen.time_s))
    if rules.target.waits_for_start and seen.running < seen.target:
        # The last step up counts from the moment when it begins to help.
        state = replace(state, last_up_s=seen.time_s, room_since_s=None)
        text = f"{seen.running} of {seen.target} run; {signal.text}"
        return _hold(seen, Reason.STARTING, text, signal), state
    if signal.wanted > seen.target:
        return _up(rules, replace(state, room_since_s=None), seen, signal)
    state = _raise_limit(state, signal)
    if seen.running < seen.target:
        # Room that is there because somebody starts is none.
        text = f"{seen.running} of {seen.target} run; {signal.text}"
        return _hold(seen, Reason.STARTING, text, signal), replace(state, room_since_s=None)
    if signal.spare:
        return _down(rules, state, seen, signal, complete=len(fresh) >= seen.running)
    return _hold(seen, Reason.STEADY, signal.text, signal), replace(state, room_since_s=None)


def _up(rules: Rules, state: State, seen: Observation, signal: Signal) -> tuple[Decision, State]:
    if seen.target == rules.maximum:
        return _hold(seen, Reason.AT_MAXIMUM, signal.text, signal), state
    if state.last_up_s is not None:
        left_s = rules.cool_down_up_s - (seen.time_s - state.last_up_s)
        if left_s > 0:
            text = f"{left_s:.1f} s left; {signal.text}"
            return _hold(seen, Reason.COOL_DOWN_UP, text, signal), state
    decision = Decision(
        action=Action.UP,
        target=min(signal.wanted, rules.maximum),
        reason=Reason.LOAD,
        text=signal.text,
        pressure=signal.pressure,
    )
    return decision, replace(_learn_limit(rules, state, seen, signal), last_up_s=seen.time_s)


def _down(
    rules: Rules, state: State, seen: Observation, signal: Signal, *, complete: bool
) -> tuple[Decision, State]:
    if seen.target == rules.minimum:
        reason = Reason.AT_MINIMUM
        return _hold(seen, reason, signal.text, signal), replace(state, room_since_s=None)
    if not complete:
        reason = Reason.SOME_METRICS
        return _hold(seen, reason, signal.text, signal), replace(state, room_since_s=None)
    since_s = seen.time_s if state.room_since_s is None else state.room_since_s
    left_s = rules.cool_down_down_s - (seen.time_s - since_s)
    if left_s > 0:
        decision = _hold(seen, Reason.COOL_DOWN_DOWN, f"{left_s:.1f} s left; {signal.text}", signal)
        return decision, replace(state, room_since_s=since_s)
    decision = Decision(
        action=Action.DOWN,
        target=seen.target - 1,
        reason=Reason.ROOM,
        text=signal.text,
        pressure=signal.pressure,
    )
    # The next step down waits for a whole cool-down of its own.
    return decision, replace(state, room_since_s=None)


def _hold(seen: Observation, reason: Reason, text: str, signal: Signal | None = None) -> Decision:
    return Decision(
        action=Action.HOLD,
        target=seen.target,
        reason=reason,
        text=text,
        pressure=None if signal is None else signal.pressure,
    )


def _limit(state: State, now_s: float) -> float | None:
    """Rows a second that overload one host, as far as that still counts."""
    if state.limit is None or now_s >= state.limit.until_s:
        return None
    return state.limit.rows_per_s


def _learn_limit(rules: Rules, state: State, seen: Observation, signal: Signal) -> State:
    """Remembers the rows a second under which a host was just overloaded."""
    if signal.rows_per_s <= 0:
        return state
    known = _limit(state, seen.time_s)
    confirmed = 0 if state.limit is None else min(state.limit.confirmed + 1, _DOUBLINGS)
    limit = Limit(
        # Half and half: one bad moment under little load is not believed for long.
        rows_per_s=signal.rows_per_s if known is None else (known + signal.rows_per_s) / 2,
        until_s=seen.time_s + LIMIT_MEMORY * rules.cool_down_down_s * 2**confirmed,
        confirmed=confirmed,
    )
    return replace(state, limit=limit)


def _raise_limit(state: State, signal: Signal) -> State:
    """A host that takes more than the limit and stays calm disproves it."""
    limit = state.limit
    if limit is None or signal.pressure >= CALM or signal.rows_per_s <= limit.rows_per_s:
        return state
    raised = replace(limit, rows_per_s=signal.rows_per_s, confirmed=0)
    return replace(state, limit=raised)
