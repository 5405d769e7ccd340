"""A step in a deployment of its own gives the same answers as one inside the replica."""

import uuid
from collections.abc import Iterator

import pytest

from serving.cli.local_stack import LocalStack, local_stack
from serving.client import CommerceClient
from serving.errors import InvalidRequest
from serving.protos import commerce_pb2 as pb
from serving.settings import PlacementSettings
from tests.integration.conftest import BuiltModels

pytestmark = pytest.mark.integration

DEADLINE_MS = 10_000.0
TEXTS = (
    "where is my order 12345?",
    "how long does standard delivery take?",
    "can you recommend something for me?",
    "I am furious, this is the third broken parcel",
    "do you have blue mugs",
    "what is the capital of France?",
)


@pytest.fixture(scope="module")
def apart(
    models: BuiltModels, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CommerceClient]:
    """A stack with every step in a deployment of its own."""
    folder = tmp_path_factory.mktemp("placement")
    overrides = {
        **models.environment(),
        **{
            f"CARTWRIGHT_PLACEMENT__{name.upper()}": "deployment"
            for name in PlacementSettings.model_fields
        },
        "CARTWRIGHT_TRITON__LOG_FOLDER": str(folder / "log"),
    }
    with local_stack(overrides, folder) as running, CommerceClient(running.address) as connected:
        yield connected


def said(client: CommerceClient, text: str, session_id: str) -> pb.ConverseReply:
    """A turn without what differs from run to run."""
    reply = client.converse(text, session_id=session_id, deadline_ms=DEADLINE_MS)
    assert not reply.meta.degraded
    reply.ClearField("meta")
    return reply


def test_a_conversation_is_the_same_wherever_the_steps_run(
    client: CommerceClient, apart: CommerceClient, stack: LocalStack
) -> None:
    session_id = uuid.uuid4().hex
    for text in TEXTS:
        assert said(apart, text, session_id) == said(client, text, session_id)


def test_the_reply_tells_of_steps_in_other_processes_too(
    client: CommerceClient, apart: CommerceClient
) -> None:
    here = client.recommend(session_id="anybody", top_k=5, deadline_ms=DEADLINE_MS)
    there = apart.recommend(session_id="anybody", top_k=5, deadline_ms=DEADLINE_MS)
    assert list(there.items) == list(here.items)
    assert there.meta.model_versions == here.meta.model_versions
    assert {s.step for s in there.meta.steps} >= {s.step for s in here.meta.steps}
    assert there.meta.total_ms > 0


def test_a_bad_request_is_refused_the_same_way(apart: CommerceClient) -> None:
    with pytest.raises(InvalidRequest, match="category"):
        apart.recommend(
            session_id="s", top_k=5, category="no/such/category", deadline_ms=DEADLINE_MS
        )
