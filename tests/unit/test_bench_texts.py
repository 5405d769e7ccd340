"""The texts that everything is measured on, and the requests made of them."""

import numpy as np
import pytest

from loadtest.bench.texts import FEWEST_WORDS, MOST_WORDS, TextSet, make_texts
from loadtest.bench.workloads import CHECKS, TOP_K, converse, recommend, understand
from serving.protos import commerce_pb2 as pb


@pytest.fixture(scope="module")
def texts() -> TextSet:
    return make_texts(200, 3)


def test_texts_are_different_of_real_length_and_those_of_the_seed(texts: TextSet) -> None:
    assert len(set(texts.texts)) == 200
    lengths = [len(text.split()) for text in texts.texts]
    assert min(lengths) >= FEWEST_WORDS
    assert max(lengths) <= MOST_WORDS
    assert 9 < np.mean(lengths) < 13
    assert sum(texts.word_counts().values()) == 200
    assert make_texts(200, 3).digest() == texts.digest()


def test_no_texts_are_refused() -> None:
    with pytest.raises(ValueError, match="count must be at least 1"):
        make_texts(0, 3)


def test_a_conversation_is_joined_to_a_text_by_its_bytes(texts: TextSet) -> None:
    workload = converse(texts.texts, ["c1", "c2"])
    request = pb.ConverseRequest.FromString(workload.messages[5] + workload.conversation("s-9", 3))
    assert request == pb.ConverseRequest(text=texts.texts[5], session_id="s-9", customer_id="c2")


def test_every_request_has_a_deadline(texts: TextSet) -> None:
    headers = understand(texts.texts, {}).headers()
    assert float(headers["cartwright-deadline-ms"]) > 0
    assert headers["grpc-timeout"].endswith("m")


def test_a_reply_with_another_intent_is_wrong_and_an_unknown_one_is_not_checked() -> None:
    reply = pb.UnderstandReply(
        understanding=pb.Understanding(intent="greeting")
    ).SerializeToString()
    check = CHECKS["understand"]
    assert check(reply, "greeting").wrong is False
    assert check(reply, "goodbye").wrong is True
    assert check(reply, None).wrong is None
    assert check(b"", None).wrong is True


def test_a_degraded_reply_and_a_short_list_are_seen() -> None:
    workload = recommend(["c1"], np.random.default_rng(0), 3)
    assert pb.RecommendRequest.FromString(workload.messages[0]).top_k == TOP_K
    reply = pb.RecommendReply(items=[pb.Item(product_id="p")] * (TOP_K - 1))
    assert CHECKS["recommend"](reply.SerializeToString(), None) == (False, True)
    reply.items.add(product_id="q")
    reply.meta.degraded.add(step="rank")
    assert CHECKS["recommend"](reply.SerializeToString(), None) == (True, False)
