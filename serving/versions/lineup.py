"""The versions of one model and what each is for: pure rules, the same wherever they are applied.

    staged ─▶ shadow ─▶ canary n % ─▶ live ─▶ previous ─▶ staged
       ▲         │           │          ▲         │
       └─────────┴───────────┘          └─────────┘  rollback

One version is live. At most one other, the candidate, is tried beside it: a shadow answers nobody,
a canary answers some customers. The version that was live before is kept, so that rollback only
moves traffic. Everything else that is known is staged.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from serving.errors import CartwrightError, FailedPrecondition, InvalidRequest

# Characters of the author or the reason of a step.
MAX_TEXT = 1000
# Long enough that two experiments never share one.
_SALT_BYTES = 8


class Stage(StrEnum):
    """What a version is for."""

    # Published and known; loaded nowhere on purpose.
    STAGED = "staged"
    # Gets copies of requests; its answers are compared and thrown away.
    SHADOW = "shadow"
    # Answers a share of the customers.
    CANARY = "canary"
    # Answers everybody else.
    LIVE = "live"
    # Was live before; stays ready for a rollback.
    PREVIOUS = "previous"


@dataclass(frozen=True, kw_only=True)
class Lineup:
    """All versions of one model that are known."""

    model: str
    live: int | None = None
    previous: int | None = None
    candidate: int | None = None
    # Share of the customers that the candidate answers, in percent; 0 while it is a shadow.
    canary_percent: float = 0.0
    # Of the present experiment: who is in which arm follows from it.
    salt: str = ""
    # In ascending order; without those above.
    staged: tuple[int, ...] = ()

    def stage_of(self, version: int) -> Stage | None:
        """What a version is for; None if it is not known."""
        if version == self.live:
            return Stage.LIVE
        if version == self.candidate:
            return Stage.CANARY if self.canary_percent > 0 else Stage.SHADOW
        if version == self.previous:
            return Stage.PREVIOUS
        return Stage.STAGED if version in self.staged else None

    @property
    def resident(self) -> tuple[int, ...]:
        """Versions that hosts keep loaded, the live one first."""
        wanted = (self.live, self.candidate, self.previous)
        return tuple(version for version in wanted if version is not None)

    @property
    def known(self) -> tuple[int, ...]:
        """Every version, in ascending order."""
        return tuple(sorted({*self.resident, *self.staged}))


# From the present line-up to the next; raises what the functions below raise.
Step = Callable[[Lineup], Lineup]


class StepRefused(FailedPrecondition):
    """A step that the present line-up does not allow; the text says why and what would."""


def stage(lineup: Lineup, version: int) -> Lineup:
    """Makes a published version known.

    Raises:
        InvalidRequest: the number is none of a version.
        StepRefused: it is known already.
    """
    if version < 1:
        raise InvalidRequest("version", f"must be at least 1, got {version}")
    found = lineup.stage_of(version)
    if found is not None:
        raise _refused(lineup, f"version {version} is {found} already")
    return replace(lineup, staged=tuple(sorted({*lineup.staged, version})))


def shadow(lineup: Lineup, version: int) -> Lineup:
    """Makes a staged version the candidate, or a canary a shadow again.

    Raises:
        StepRefused: it is not known or live itself, nothing is live, or another one is being tried.
    """
    return _tried(lineup, version, 0.0)


def canary(lineup: Lineup, version: int, percent: float) -> Lineup:
    """Lets a version answer a share of the customers; who is in stays in while the share grows.

    Raises:
        InvalidRequest: the share is not above 0 and below 100.
        StepRefused: as for `shadow`.
    """
    if not 0.0 < percent < 100.0:
        raise InvalidRequest("percent", f"must be above 0 and below 100, got {percent:g}")
    return _tried(lineup, version, percent)


def promote(lineup: Lineup, version: int) -> Lineup:
    """Makes a version live; the live one becomes the previous one.

    Raises:
        StepRefused: it is not known or live already, or another candidate is being tried.
    """
    found = lineup.stage_of(version)
    if found is None:
        raise _unknown(lineup, version)
    if found is Stage.LIVE:
        raise _refused(lineup, f"version {version} is live already")
    if lineup.candidate not in (None, version):
        raise _refused(lineup, f"version {lineup.candidate} is being tried: withdraw it first")
    without = _without(lineup, version)
    if without.live is None:
        return replace(without, live=version)
    dropped = () if without.previous is None else (without.previous,)
    return replace(
        without,
        live=version,
        previous=without.live,
        staged=tuple(sorted({*without.staged, *dropped})),
    )


def rollback(lineup: Lineup) -> Lineup:
    """Takes back what was done last: a candidate is withdrawn, else the previous version is live.

    Raises:
        StepRefused: there is neither a candidate nor a previous version.
    """
    if lineup.candidate is not None:
        version = lineup.candidate
        return replace(_without(lineup, version), staged=tuple(sorted({*lineup.staged, version})))
    if lineup.previous is None:
        raise _refused(lineup, "there is no candidate and no previous version to go back to")
    failed = () if lineup.live is None else (lineup.live,)
    return replace(
        lineup,
        live=lineup.previous,
        previous=None,
        staged=tuple(sorted({*lineup.staged, *failed})),
    )


def release(lineup: Lineup) -> Lineup:
    """Lets the previous version go, once it need not be held any more.

    Raises:
        StepRefused: there is none.
    """
    if lineup.previous is None:
        raise _refused(lineup, "there is no previous version")
    return replace(lineup, previous=None, staged=tuple(sorted({*lineup.staged, lineup.previous})))


def _tried(lineup: Lineup, version: int, percent: float) -> Lineup:
    found = lineup.stage_of(version)
    if found is None:
        raise _unknown(lineup, version)
    if lineup.live is None:
        raise _refused(lineup, "nothing is live to compare with: promote a version first")
    if found is Stage.LIVE:
        raise _refused(lineup, f"version {version} is live")
    if lineup.candidate not in (None, version):
        raise _refused(lineup, f"version {lineup.candidate} is being tried: withdraw it first")
    salt = lineup.salt if lineup.candidate == version else secrets.token_hex(_SALT_BYTES)
    return replace(_without(lineup, version), candidate=version, canary_percent=percent, salt=salt)


def _without(lineup: Lineup, version: int) -> Lineup:
    """The line-up as if the version, which is not live, were not known."""
    if version == lineup.candidate:
        lineup = replace(lineup, candidate=None, canary_percent=0.0, salt="")
    if version == lineup.previous:
        lineup = replace(lineup, previous=None)
    return replace(lineup, staged=tuple(v for v in lineup.staged if v != version))


def _unknown(lineup: Lineup, version: int) -> CartwrightError:
    known = ", ".join(map(str, lineup.known)) or "none"
    return _refused(lineup, f"version {version} is not known (known: {known}): stage it first")


def _refused(lineup: Lineup, why: str) -> StepRefused:
    return StepRefused(f"{lineup.model}: {why}")
