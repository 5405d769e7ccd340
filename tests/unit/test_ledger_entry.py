"""Bytes of entries: everything comes back, and what cannot be written is named."""

import dataclasses

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.ledger.entry import (
    MAX_TEXT_BYTES,
    Entry,
    ModelUse,
    Setup,
    decode_entry,
    decode_setup,
    encode_entry,
    encode_setup,
    setup_place_of,
    trace_of,
)
from serving.types import Degradation
from serving.versions.arms import Arm
from tests.ledger_entries import NOT_READY, entry

# Of at most 60 code points: they always fit.
TEXTS = st.text(st.characters(codec="utf-8"), max_size=60)
MODELS = st.builds(ModelUse, TEXTS, st.integers(0, 2**32 - 1), TEXTS, TEXTS)
ENTRIES = st.builds(
    Entry,
    trace_id=st.binary(min_size=16, max_size=16).map(bytes.hex),
    at_ms=st.integers(0, 2**64 - 1),
    method=TEXTS,
    code=st.sampled_from([code.name for code in grpc.StatusCode]),
    models=st.lists(MODELS, max_size=6).map(tuple),
    settings=TEXTS,
    degraded=st.lists(
        st.builds(Degradation, step=TEXTS, reason=TEXTS, fallback=TEXTS), max_size=5
    ).map(tuple),
    duration_ms=st.floats(0, 1e9),
    customer=TEXTS,
)


@given(ENTRIES, st.integers(0, 2**32 - 1))
def test_every_entry_comes_back(written: Entry, place: int) -> None:
    setup = Setup(written.method, written.models, written.settings)
    assert decode_setup(encode_setup(setup)) == setup
    payload = encode_entry(written, place)
    assert decode_entry(payload, setup) == written
    assert setup_place_of(payload) == place
    assert trace_of(payload) == written.trace_id


def test_an_entry_is_small() -> None:
    # What the settings' documentation says, with the frame of 9 bytes.
    assert len(encode_entry(entry(1), 0)) + 9 <= 70


def test_an_arm_is_written_by_its_name() -> None:
    use = ModelUse("ranker", 1, Arm.CANARY, "aa")
    (read,) = decode_setup(encode_setup(Setup("Decide", (use,), ""))).models
    assert read == use == ModelUse("ranker", 1, "canary", "aa")
    # One setup for both, then.
    assert hash(read) == hash(use)


@pytest.mark.parametrize("letter", ["x", "ö", "€", "𝛼"])
def test_a_long_reason_is_cut_at_a_letter(letter: str) -> None:
    long = dataclasses.replace(NOT_READY, reason=letter * 300)
    written = entry(1, degraded=(long, NOT_READY))
    setup = Setup(written.method, written.models, written.settings)
    cut, whole = decode_entry(encode_entry(written, 0), setup).degraded
    assert whole == NOT_READY
    assert (cut.step, cut.fallback) == (long.step, long.fallback)
    assert cut.reason.rstrip("…") == letter * (len(cut.reason) - 1)
    assert MAX_TEXT_BYTES - 4 < len(cut.reason.encode()) <= MAX_TEXT_BYTES


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("trace_id", "abc"),
        ("trace_id", "ab" * 15),
        ("trace_id", "ab" * 17),
        ("trace_id", ""),
        ("trace_id", "zz" * 16),
        ("at_ms", -1),
        ("code", "FINE"),
        ("customer", "c" * 256),
        ("degraded", (NOT_READY,) * 256),
    ],
)
def test_what_cannot_be_written_is_refused_with_its_trace(field: str, value: object) -> None:
    broken = dataclasses.replace(entry(1), **{field: value})
    with pytest.raises(ValueError, match=f"entry of trace '{broken.trace_id}'"):
        encode_entry(broken, 0)


@pytest.mark.parametrize(
    ("setup", "names"),
    [
        (Setup("m" * 256, (), ""), "has 256 bytes, at most 255"),
        (Setup("m", (ModelUse("ranker", -1, "live", ""),), ""), "ranker: version -1"),
        (Setup("m", (ModelUse("ranker", 2**32, "live", ""),), ""), "ranker: version 4294967296"),
    ],
)
def test_a_setup_that_cannot_be_written_is_refused(setup: Setup, names: str) -> None:
    with pytest.raises(ValueError, match=names):
        encode_setup(setup)
