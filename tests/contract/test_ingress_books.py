"""What is kept of answers, over real gRPC: every one in the ledger, the text of some, masked."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from serving.client import AsyncCommerceClient
from serving.errors import InvalidRequest, ModelUnavailable
from serving.ingress.agent import Ingress
from serving.ingress.books import Books, open_books
from serving.ingress.health import Health
from serving.ingress.models import ModelsView
from serving.ledger.entry import Entry
from serving.ledger.reader import LedgerReader
from serving.models.version import ModelVersion
from serving.recording.reader import Recording
from serving.recording.recorder import FOLDER
from serving.rollout.tally import Tally
from serving.settings import Settings
from serving.types import Event, EventKind, Feedback
from serving.versions.lineup import Lineup
from tests.fakes.world import World, build_world, small_assets, with_vectors
from tests.ingress_server import no_admin, serving_ingress

pytestmark = pytest.mark.contract

DEADLINE_MS = 10_000.0


@dataclass
class Served:
    """An ingress with open books below `folder`."""

    world: World
    books: Books
    client: AsyncCommerceClient
    folder: Path

    def entries(self, trace_id: str) -> list[Entry]:
        found = LedgerReader(self.folder / "ledger").find(trace_id)
        return [one for one in found if isinstance(one, Entry)]


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    settings = Settings.model_validate(
        {
            "ledger": {"folder": tmp_path / "ledger"},
            "stores": {"folder": tmp_path / "stores"},
            "recording": {"per_second": 1000},
        }
    )
    (tmp_path / "stores").mkdir()
    world = await with_vectors(build_world(settings))
    books = open_books(settings, Tally(world.router.tried), world.opened.opened)
    view = ModelsView(world.router.lineups, world.opened.opened, list, lambda _host: 0)
    health = Health(("understanding",), world.router.can_answer)
    ingress = Ingress(settings, world.pipelines, view, health, no_admin(tmp_path), books)
    async with serving_ingress(ingress) as address, AsyncCommerceClient(address) as client:
        yield Served(world, books, client, tmp_path)
    await books.close()


async def test_an_answer_stands_in_the_ledger_when_the_customer_reads_it(served: Served) -> None:
    for assets in small_assets(version=2):
        served.world.opened.open(assets)
    canary = Lineup(model="understanding", live=1, candidate=2, canary_percent=99.9, salt="s")
    served.world.router.follow({**served.world.router.lineups(), "understanding": canary})
    reply = await served.client.converse(
        "how can I return an item?",
        session_id="s1",
        customer_id="alice",
        deadline_ms=DEADLINE_MS,
    )
    (entry,) = served.entries(reply.meta.trace_id)
    assert (entry.method, entry.code) == ("Converse", "OK")
    used = {use.model: (use.version, use.arm) for use in entry.models}
    assert used["understanding"] == (2, "canary")
    assert used == {v.model: (v.version, v.arm) for v in reply.meta.model_versions}
    assert [use.model for use in entry.models] == sorted(used)
    assert entry.duration_ms > 0
    assert served.books.ledger is not None
    assert entry.settings == served.books.ledger.settings_digest
    # A pseudonym: the same for the same customer, and not the id.
    again = await served.client.decide("buy", customer_id="alice", deadline_ms=DEADLINE_MS)
    other = await served.client.decide("buy", customer_id="bob", deadline_ms=DEADLINE_MS)
    customers = [served.entries(r.meta.trace_id)[0].customer for r in (reply, again, other)]
    assert customers[0] == customers[1] != customers[2]
    assert b"alice" not in b"".join(
        path.read_bytes() for path in (served.folder / "ledger").iterdir()
    )


async def test_what_failed_or_was_degraded_is_entered_as_such(served: Served) -> None:
    trace_id = "ab" * 16
    with pytest.raises(InvalidRequest):
        await served.client.understand(
            "", deadline_ms=DEADLINE_MS, traceparent=f"00-{trace_id}-{'cd' * 8}-00"
        )
    (entry,) = served.entries(trace_id)
    assert (entry.code, entry.models) == ("INVALID_ARGUMENT", ())
    served.world.models.fail("decision", ModelUnavailable("away"))
    reply = await served.client.converse("hello", session_id="s", deadline_ms=DEADLINE_MS)
    (entry,) = served.entries(reply.meta.trace_id)
    assert [(d.step, d.reason) for d in entry.degraded] == [("decide", "away")]


async def test_texts_are_recorded_masked(served: Served) -> None:
    text = "my name is Anna Schmidt, where is my order 4711234?"
    reply = await served.client.understand(text, deadline_ms=DEADLINE_MS)
    await served.books.close()
    (record,) = Recording(served.folder / "stores" / FOLDER).records()
    assert record.trace_id == reply.meta.trace_id
    assert (record.method, record.model, record.version, record.arm) == (
        "Understand",
        "understanding",
        1,
        "live",
    )
    assert record.answer is not None
    assert record.answer.intent == reply.understanding.intent
    for secret in ("Anna", "Schmidt", "4711234"):
        assert secret not in record.model_dump_json()


async def test_feedback_finds_version_and_arm_of_the_answer(served: Served) -> None:
    for assets in small_assets(version=2):
        served.world.opened.open(assets)
    canary = Lineup(model="understanding", live=1, candidate=2, canary_percent=50, salt="s")
    served.world.router.follow({**served.world.router.lineups(), "understanding": canary})
    rated: dict[tuple[int, str], tuple[int, int]] = {}
    feedback = []
    for number in range(20):
        reply = await served.client.converse("hello", session_id=f"s{number}", deadline_ms=5000)
        feedback.append(Feedback(trace_id=reply.meta.trace_id, helpful=number % 3 > 0))
        (use,) = [v for v in reply.meta.model_versions if v.model == "understanding"]
        bad, of = rated.get((use.version, use.arm), (0, 0))
        rated[use.version, use.arm] = (bad + (number % 3 == 0), of + 1)
    assert set(rated) == {(1, "live"), (2, "canary")}
    reply = await served.client.record_feedback(feedback, deadline_ms=DEADLINE_MS)
    assert (reply.recorded, list(reply.unknown_trace_ids)) == (20, [])
    assert [step.step for step in reply.meta.steps] == ["find_requests", "store_feedback"]
    store = served.world.stores.feedback
    assert store.counts("understanding", 0) == rated
    began_ms = min(store.versions.values())
    assert abs(time.time() * 1000 - began_ms) < 60_000
    assert sum(of for _, of in store.counts("understanding", began_ms).values()) == 20
    # Feedback is a call like others: it stands in the ledger, and no model had a part in it.
    (entry,) = served.entries(reply.meta.trace_id)
    assert (entry.method, entry.code, entry.models) == ("RecordFeedback", "OK", ())


async def test_feedback_on_what_no_model_answered_is_kept_and_not_counted(served: Served) -> None:
    event = Event(event_id="e", kind=EventKind.VIEW, product_id="p00", session_id="s")
    stored = await served.client.record_events([event], deadline_ms=DEADLINE_MS)
    unknown = ["ab" * 16, stored.meta.trace_id]
    comment = "anna.schmidt@example.org never got order 4711234"
    reply = await served.client.record_feedback(
        [Feedback(trace_id=one.upper(), helpful=False, comment=comment) for one in unknown],
        deadline_ms=DEADLINE_MS,
    )
    assert (reply.recorded, list(reply.unknown_trace_ids)) == (2, unknown)
    store = served.world.stores.feedback
    assert list(store.ratings) == unknown
    for kept in store.ratings.values():
        assert "never got order" in kept.comment
        assert "anna" not in kept.comment
        assert "4711234" not in kept.comment
    assert store.counts("understanding", 0) == {}


async def test_feedback_that_is_refused_names_its_field(served: Served) -> None:
    good = Feedback(trace_id="ab" * 16, helpful=True)
    for bad, field in (
        (Feedback(trace_id="abc", helpful=True), "trace_id"),
        (Feedback(trace_id="ab" * 16, helpful=True, comment="x" * 1001), "comment"),
        (Feedback(trace_id="ab" * 16, helpful=True, occurred_at_ms=2**60), "occurred_at_ms"),
    ):
        with pytest.raises(InvalidRequest) as caught:
            await served.client.record_feedback([good, good, bad], deadline_ms=DEADLINE_MS)
        assert caught.value.field == f"feedback[2].{field}"
    assert served.world.stores.feedback.ratings == {}


async def test_books_say_what_they_hold(served: Served) -> None:
    await served.client.understand("hello", deadline_ms=DEADLINE_MS)
    found = {reading.name: reading.value for reading in served.books.readings()}
    assert found["cartwright_ledger_entries_total"] == 1
    assert found["cartwright_ledger_entries_lost_total"] == 0
    assert found["cartwright_recorder_offered_total"] == 1


async def test_without_ledger_and_recorder_answers_are_given_all_the_same(tmp_path: Path) -> None:
    settings = Settings.model_validate(
        {
            "ledger": {"enabled": False},
            "recording": {"enabled": False},
            "stores": {"folder": tmp_path},
        }
    )
    world = build_world(settings)
    books = open_books(settings, Tally(world.router.tried), world.opened.opened)
    assert books.readings() == []
    view = ModelsView(dict, dict, list, lambda _host: 0)
    health = Health((), world.router.can_answer)
    ingress = Ingress(settings, world.pipelines, view, health, no_admin(tmp_path), books)
    async with serving_ingress(ingress) as address, AsyncCommerceClient(address) as client:
        reply = await client.understand("hello", deadline_ms=DEADLINE_MS)
        judged = Feedback(trace_id=reply.meta.trace_id, helpful=True)
        rated = await client.record_feedback([judged], deadline_ms=DEADLINE_MS)
    assert reply.understanding.intent == "greeting"
    assert (rated.recorded, list(rated.unknown_trace_ids)) == (1, [judged.trace_id])
    assert ModelVersion("understanding", 1) in world.opened.opened()
    await books.close()
