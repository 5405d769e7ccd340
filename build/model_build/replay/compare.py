"""Pairs of answers to a result: counted, listed, never judged."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from model_build.replay.differences import Kind, Limits, differences
from model_build.replay.pairs import Answered, Pair
from model_build.replay.result import (
    Example,
    IntentChange,
    Latency,
    ReplayResult,
    Share,
    Shown,
    ShownSlot,
    Side,
    share_of,
)
from serving.models.manifest import ModelManifest
from serving.types import Understanding

# Of each kind that comes first in an example.
EXAMPLES_A_KIND = 25


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """What a result says about how it came about."""

    first: ModelManifest
    second: ModelManifest
    limits: Limits
    tritonserver: str
    replayed_at: datetime
    seconds: float


def compare(pairs: Sequence[Pair], circumstances: Circumstances) -> ReplayResult:
    """The result of a replay.

    Raises:
        ValueError: there is no pair.
    """
    if not pairs:
        raise ValueError("pairs: there is none to compare")
    limits = circumstances.limits
    kinds = [
        differences(pair.first.understanding, pair.second.understanding, limits) for pair in pairs
    ]
    counts = Counter(kind for found in kinds for kind in found)
    arrivals = [pair.record.arrived_at_ms for pair in pairs]
    examples, left_out = _examples(pairs, kinds)
    return ReplayResult(
        model=circumstances.first.model,
        first=_side(circumstances.first, [(p, p.first) for p in pairs]),
        second=_side(circumstances.second, [(p, p.second) for p in pairs]),
        records=len(pairs),
        texts=len({pair.record.text for pair in pairs}),
        recorded_from=_moment(min(arrivals)),
        recorded_until=_moment(max(arrivals)),
        disagreements=share_of(sum(bool(found) for found in kinds), len(pairs)),
        by_kind={kind: share_of(counts[kind], len(pairs)) for kind in Kind},
        intent_changes=_intent_changes(pairs),
        examples=examples,
        examples_left_out=left_out,
        out_of_scope_probability=limits.out_of_scope_probability,
        confidence_step=limits.confidence_step,
        tritonserver=circumstances.tritonserver,
        replayed_at=circumstances.replayed_at,
        seconds=circumstances.seconds,
    )


def _side(manifest: ModelManifest, answers: Sequence[tuple[Pair, Answered]]) -> Side:
    failures = [answered.failure for _, answered in answers if answered.failure]
    served = next(a for a in manifest.artifacts if a.kind == manifest.served_artifact)
    return Side(
        version=manifest.version,
        served_artifact=manifest.served_artifact,
        sha256=served.sha256,
        failed=len(failures),
        first_failure=failures[0] if failures else "",
        latency=_latency([answered.duration_ms for _, answered in answers if not answered.failure]),
        as_recorded=_as_recorded(manifest.version, answers),
    )


def _latency(durations_ms: Sequence[float]) -> Latency | None:
    if not durations_ms:
        return None
    p50_ms, p99_ms = np.percentile(np.array(durations_ms), (50, 99))
    return Latency(
        calls=len(durations_ms),
        mean_ms=float(np.mean(durations_ms)),
        p50_ms=float(p50_ms),
        p99_ms=float(p99_ms),
    )


def _as_recorded(version: int, answers: Iterable[tuple[Pair, Answered]]) -> Share:
    same = [
        pair.record.answer.intent == answered.understanding.intent
        for pair, answered in answers
        if pair.record.version == version
        and pair.record.answer is not None
        and answered.understanding is not None
    ]
    return share_of(sum(same), len(same))


def _intent_changes(pairs: Iterable[Pair]) -> tuple[IntentChange, ...]:
    changes = Counter(
        (first.intent, second.intent)
        for pair in pairs
        if (first := pair.first.understanding) is not None
        and (second := pair.second.understanding) is not None
        and first.intent != second.intent
    )
    return tuple(
        IntentChange(first=first, second=second, records=records)
        for (first, second), records in sorted(changes.items(), key=lambda c: (-c[1], c[0]))
    )


def _examples(
    pairs: Sequence[Pair], kinds: Sequence[tuple[Kind, ...]]
) -> tuple[tuple[Example, ...], int]:
    """Examples, and how many texts they leave out."""
    # The same text may be answered once and fail once.
    groups: dict[tuple[str, tuple[Kind, ...]], list[Pair]] = {}
    for pair, found in zip(pairs, kinds, strict=True):
        if found:
            groups.setdefault((pair.record.text, found), []).append(pair)
    shown, taken = [], Counter[Kind]()
    frequent = sorted(groups.items(), key=lambda group: (-len(group[1]), group[0][0]))
    for (text, found), members in frequent:
        taken[found[0]] += 1
        if taken[found[0]] > EXAMPLES_A_KIND:
            continue
        shown.append(
            Example(
                text=text,
                records=len(members),
                kinds=found,
                first=_shown(members[-1].first.understanding),
                second=_shown(members[-1].second.understanding),
                trace_id=members[-1].record.trace_id,
            )
        )
    order = list(Kind)
    # Stable: within a kind, the most frequent stays first.
    shown.sort(key=lambda example: order.index(example.kinds[0]))
    return tuple(shown), len(groups) - len(shown)


def _shown(understanding: Understanding | None) -> Shown | None:
    if understanding is None:
        return None
    return Shown(
        intent=understanding.intent,
        intent_confidence=round(understanding.intent_confidence, 4),
        slots=tuple(ShownSlot(name=s.name, value=s.value) for s in understanding.slots),
        sentiment=understanding.sentiment.value,
        out_of_scope_probability=round(understanding.out_of_scope_probability, 4),
    )


def _moment(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000.0, UTC)
