"""Durations, counted in buckets whose edges grow by a fifth: small, and added up exactly.

Bucket i holds what took longer than edge i - 1 and at most edge i. The edges are 2^(i / 4) ms, from
1 ms to 55 s; what took longer than the last edge lies in the last bucket too.
"""

import math
from collections.abc import Sequence

_PER_OCTAVE = 4
BUCKETS = 64


def bucket_of(duration_ms: float) -> int:
    """The bucket in which a duration lies."""
    if duration_ms <= 1.0:
        return 0
    return min(BUCKETS - 1, math.ceil(_PER_OCTAVE * math.log2(duration_ms)))


def edge_ms(bucket: int) -> float:
    """The longest duration of a bucket."""
    return float(2.0 ** (bucket / _PER_OCTAVE))


def quantile_bucket(counts: Sequence[int], share: float) -> int:
    """The first bucket up to whose edge lies at least this share of the durations.

    Args:
        counts: of each bucket; not all zero.
        share: above 0, at most 1.

    Raises:
        ValueError: nothing was counted.
    """
    total = sum(counts)
    if not total:
        raise ValueError("counts: there is no duration")
    seen = 0
    for bucket, count in enumerate(counts):
        seen += count
        if seen >= share * total:
            return bucket
    return len(counts) - 1
