"""One answered call as the ledger keeps it, and its bytes.

    Entry ─▶ setup: method, models, settings    written once for many entries
          └▶ entry: everything else             refers to its setup by the place in the segment

Encoding is by hand and flat: a busy replica does it a thousand times a second.
"""

import struct
from dataclasses import dataclass
from typing import NamedTuple

import grpc

from serving.ledger.record import KIND_ENTRY, KIND_SETUP
from serving.types import Degradation

# Longest text in bytes of UTF-8: its length takes one byte.
MAX_TEXT_BYTES = 255
_CUT = "…"
# kind, trace id, at_ms, place of the setup, gRPC code, duration_ms, number of degraded steps,
# bytes of the customer
_ENTRY = struct.Struct("<B16sQIBdBB")
# Where an entry's payload holds its trace id.
TRACE_AT = 1
TRACE_BYTES = 16
_SETUP_COUNT = struct.Struct("<BB")
_VERSION = struct.Struct("<I")
_CODE_NUMBERS: dict[str, int] = {code.name: code.value[0] for code in grpc.StatusCode}
_CODE_NAMES = {number: name for name, number in _CODE_NUMBERS.items()}


class ModelUse(NamedTuple):
    """A model version that had a part in an answer.

    A tuple and not a dataclass: it is hashed for every request, and a tuple's hash is C.
    """

    model: str
    version: int
    # Why this version: a `serving.versions.arms.Arm`.
    arm: str
    # The first hex digits of the artifact's SHA-256.
    artifact: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One answered call."""

    # 32 hex digits, as in the reply's meta. A caller may make several calls in one trace.
    trace_id: str
    # Unix time at which the answer was ready.
    at_ms: int
    # E.g. "Converse".
    method: str
    # Name of the gRPC status, e.g. "OK".
    code: str
    models: tuple[ModelUse, ...] = ()
    # `Ledger.settings_digest` of the process that answered.
    settings: str = ""
    # Texts beyond `MAX_TEXT_BYTES` are cut.
    degraded: tuple[Degradation, ...] = ()
    duration_ms: float = 0.0
    # Keyed hash of the customer, else of the session; never the id itself. "" without either.
    customer: str = ""


class Setup(NamedTuple):
    """What many entries have in common."""

    method: str
    models: tuple[ModelUse, ...]
    settings: str


def encode_setup(setup: Setup) -> bytes:
    """Payload of a setup's record.

    Raises:
        ValueError: a text is too long, or a version is no number of one.
    """
    parts = [
        _SETUP_COUNT.pack(KIND_SETUP, len(setup.models)),
        _text(setup.method),
        _text(setup.settings),
    ]
    for use in setup.models:
        try:
            parts.append(_VERSION.pack(use.version))
        except struct.error as error:
            raise ValueError(f"{use.model}: version {use.version!r}: {error}") from error
        parts += (_text(use.model), _text(use.arm), _text(use.artifact))
    return b"".join(parts)


def decode_setup(payload: bytes) -> Setup:
    """The setup in a payload of `encode_setup`."""
    _, count = _SETUP_COUNT.unpack_from(payload)
    method, at = _text_at(payload, _SETUP_COUNT.size)
    settings, at = _text_at(payload, at)
    models = []
    for _ in range(count):
        (version,) = _VERSION.unpack_from(payload, at)
        model, at = _text_at(payload, at + _VERSION.size)
        arm, at = _text_at(payload, at)
        artifact, at = _text_at(payload, at)
        models.append(ModelUse(model, version, arm, artifact))
    return Setup(method, tuple(models), settings)


def encode_entry(entry: Entry, setup_place: int) -> bytes:
    """Payload of an entry's record.

    Args:
        entry: the call.
        setup_place: where in the segment the record of its setup begins, in bytes.

    Raises:
        ValueError: a field cannot be written; names the trace and the reason.
    """
    try:
        customer = entry.customer.encode()
        trace = bytes.fromhex(entry.trace_id)
        if len(trace) != TRACE_BYTES:
            raise ValueError(f"must have {2 * TRACE_BYTES} hex digits")
        payload = _ENTRY.pack(
            KIND_ENTRY,
            trace,
            entry.at_ms,
            setup_place,
            _CODE_NUMBERS[entry.code],
            entry.duration_ms,
            len(entry.degraded),
            len(customer),
        )
    except (KeyError, ValueError, struct.error) as error:
        raise ValueError(f"entry of trace {entry.trace_id!r}: {error!r}") from error
    payload += customer
    for step in entry.degraded:
        payload += _text(_cut(step.step)) + _text(_cut(step.reason)) + _text(_cut(step.fallback))
    return payload


def setup_place_of(payload: bytes) -> int:
    """Where the setup of an entry's payload begins, in bytes."""
    place: int = _ENTRY.unpack_from(payload)[3]
    return place


def trace_of(payload: bytes) -> str:
    """The trace id of an entry's payload."""
    return payload[TRACE_AT : TRACE_AT + TRACE_BYTES].hex()


def decode_entry(payload: bytes, setup: Setup) -> Entry:
    """The entry in a payload of `encode_entry`, with its setup."""
    _, trace, at_ms, _, code, duration_ms, steps, length = _ENTRY.unpack_from(payload)
    at = _ENTRY.size + length
    customer = payload[_ENTRY.size : at].decode()
    degraded = []
    for _ in range(steps):
        step, at = _text_at(payload, at)
        reason, at = _text_at(payload, at)
        fallback, at = _text_at(payload, at)
        degraded.append(Degradation(step=step, reason=reason, fallback=fallback))
    return Entry(
        trace_id=trace.hex(),
        at_ms=at_ms,
        method=setup.method,
        code=_CODE_NAMES[code],
        models=setup.models,
        settings=setup.settings,
        degraded=tuple(degraded),
        duration_ms=duration_ms,
        customer=customer,
    )


def _text(text: str) -> bytes:
    data = text.encode()
    if len(data) > MAX_TEXT_BYTES:
        raise ValueError(f"{text[:40]!r}… has {len(data)} bytes, at most {MAX_TEXT_BYTES}")
    return bytes((len(data),)) + data


def _cut(text: str) -> str:
    data = text.encode()
    if len(data) <= MAX_TEXT_BYTES:
        return text
    return data[: MAX_TEXT_BYTES - len(_CUT.encode())].decode(errors="ignore") + _CUT


def _text_at(payload: bytes, at: int) -> tuple[str, int]:
    """The text that begins at a place, and where it ends."""
    stop = at + 1 + payload[at]
    return payload[at + 1 : stop].decode(), stop
