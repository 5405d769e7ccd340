"""Entries of a ledger, for tests."""

from pathlib import Path

from serving.ledger.entry import Entry, ModelUse
from serving.settings import LedgerSettings
from serving.types import Degradation

MIB = 1 << 20
# Of the entry with number 0.
BEGAN_MS = 1_790_000_000_000

UNDERSTANDING_3 = ModelUse("understanding", 3, "live", "9f86d081884c")
UNDERSTANDING_4 = ModelUse("understanding", 4, "canary", "60303ae22b99")
RANKER_1 = ModelUse("ranker", 1, "live", "fd61a03af4f7")
NOT_READY = Degradation(
    step="rank", reason="model ranker is not ready on any host", fallback="the candidates' order"
)


def trace_of(number: int, name: str = "a") -> str:
    """A trace id that tells entries apart, and holds no run of zeros."""
    return f"{ord(name):02x}" * 8 + f"{0xC0FFEE_00000000 + number:016x}"


def entry(
    number: int,
    *,
    name: str = "a",
    method: str = "Converse",
    code: str = "OK",
    models: tuple[ModelUse, ...] = (UNDERSTANDING_3, RANKER_1),
    degraded: tuple[Degradation, ...] = (),
) -> Entry:
    """The `number`th entry of a writer: one each millisecond."""
    return Entry(
        trace_id=trace_of(number, name),
        at_ms=BEGAN_MS + number,
        method=method,
        code=code,
        models=models,
        settings="5e77135e77",
        degraded=degraded,
        duration_ms=12.25 + number,
        customer="c0ffee0123456789",
    )


def settings(folder: Path, *, age_s: float = 3600.0, max_bytes: int = 64 * MIB) -> LedgerSettings:
    """Small segments."""
    return LedgerSettings(
        folder=folder, segment_bytes=MIB, segment_age_s=age_s, max_bytes=max_bytes
    )
