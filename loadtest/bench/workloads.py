"""What is asked of a variant, serialised beforehand, and how its replies are judged."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from serving.client import methods
from serving.client.methods import Method
from serving.deadline import METADATA_KEY
from serving.protos import commerce_pb2 as pb

DEADLINE_MS = 10_000
TOP_K = 10
# Turns of one conversation.
TURNS = 8


class Verdict(NamedTuple):
    """What a reply was found to be. `wrong` is None where nothing is known to compare with."""

    degraded: bool
    wrong: bool | None


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One method with its requests. Can be pickled."""

    method: str
    path: str
    messages: tuple[bytes, ...]
    # Name in CHECKS.
    check: str
    # What the reply to a message has to say, by the message's index.
    expected: Mapping[int, Any] = field(default_factory=dict)
    # Added to the messages of one conversation; made of the conversation's id and this.
    conversations: bool = False
    customers: tuple[str, ...] = ()
    # Texts in each message.
    texts: int = 1
    metadata: Mapping[str, str] = field(default_factory=dict)

    def headers(self) -> dict[str, str]:
        """Metadata of each request; every one has a deadline."""
        return {
            METADATA_KEY: str(DEADLINE_MS),
            "grpc-timeout": f"{DEADLINE_MS}m",
            **self.metadata,
        }

    def conversation(self, session_id: str, number: int) -> bytes:
        """Fields to put behind a ConverseRequest's text: protobuf joins what is concatenated."""
        customer = self.customers[number % len(self.customers)] if self.customers else ""
        return pb.ConverseRequest(session_id=session_id, customer_id=customer).SerializeToString()


def understand(texts: Sequence[str], expected: Mapping[int, str]) -> Workload:
    """Understand; `expected` holds the intent of some of the texts."""
    return _of(
        methods.UNDERSTAND,
        [pb.UnderstandRequest(text=text) for text in texts],
        "understand",
        expected=expected,
    )


def answer(texts: Sequence[str]) -> Workload:
    """Answer."""
    return _of(methods.ANSWER, [pb.AnswerRequest(question=text) for text in texts], "answer")


def recommend(customers: Sequence[str], rng: np.random.Generator, count: int) -> Workload:
    """Recommend, for customers of the shop in random order."""
    chosen = rng.integers(len(customers), size=count)
    requests = [pb.RecommendRequest(customer_id=customers[i], top_k=TOP_K) for i in chosen]
    return _of(methods.RECOMMEND, requests, "recommend")


def converse(texts: Sequence[str], customers: Sequence[str]) -> Workload:
    """Converse: conversations of `TURNS` turns, each with a customer of the shop."""
    return replace(
        _of(methods.CONVERSE, [pb.ConverseRequest(text=text) for text in texts], "converse"),
        conversations=True,
        customers=tuple(customers),
    )


def renamed(workload: Workload, method: str, metadata: Mapping[str, str]) -> Workload:
    """The same requests under another name, with more metadata."""
    return replace(workload, method=method, metadata=metadata)


def _of(method: Method[Any, Any], requests: Sequence[Any], check: str, **more: Any) -> Workload:
    return Workload(
        method=method.name,
        path=method.path,
        messages=tuple(request.SerializeToString() for request in requests),
        check=check,
        **more,
    )


def versions_of(workload: Workload, reply: bytes) -> tuple[tuple[tuple[str, int, str], ...], bool]:
    """(model, version, arm) of every model behind a reply, and whether it is degraded."""
    meta = _REPLIES[workload.check].FromString(reply).meta
    used = tuple((one.model, one.version, one.arm) for one in meta.model_versions)
    return used, bool(meta.degraded)


def _check_understand(reply: bytes, expected: Any) -> Verdict:
    parsed = pb.UnderstandReply.FromString(reply)
    intent = parsed.understanding.intent
    wrong = not intent if expected is None else intent != expected
    return Verdict(bool(parsed.meta.degraded), wrong if expected is not None or wrong else None)


def _check_answer(reply: bytes, _expected: Any) -> Verdict:
    parsed = pb.AnswerReply.FromString(reply)
    complete = bool(parsed.answer.text) and (not parsed.answer.known or bool(parsed.answer.sources))
    return Verdict(bool(parsed.meta.degraded), not complete)


def _check_recommend(reply: bytes, _expected: Any) -> Verdict:
    parsed = pb.RecommendReply.FromString(reply)
    return Verdict(bool(parsed.meta.degraded), len(parsed.items) != TOP_K)


def _check_converse(reply: bytes, _expected: Any) -> Verdict:
    parsed = pb.ConverseReply.FromString(reply)
    complete = parsed.text and parsed.understanding.intent and parsed.decision.action
    return Verdict(bool(parsed.meta.degraded), not complete)


def _check_tensors(reply: bytes, expected: Any) -> Verdict:
    """`expected`: index of the largest intent logit, by the rows where it is known."""
    from tritonclient.grpc import service_pb2

    parsed = service_pb2.ModelInferResponse.FromString(reply)
    names = [tensor.name for tensor in parsed.outputs]
    if "intent_logits" not in names:
        return Verdict(False, True)
    if expected is None:
        return Verdict(False, None)
    at = names.index("intent_logits")
    shape = tuple(parsed.outputs[at].shape)
    logits = np.frombuffer(parsed.raw_output_contents[at], "<f4").reshape(shape)
    return Verdict(False, any(logits[row].argmax() != index for row, index in expected.items()))


_REPLIES: dict[str, Any] = {
    "understand": pb.UnderstandReply,
    "answer": pb.AnswerReply,
    "recommend": pb.RecommendReply,
    "converse": pb.ConverseReply,
}
CHECKS: dict[str, Callable[[bytes, Any], Verdict]] = {
    "understand": _check_understand,
    "answer": _check_answer,
    "recommend": _check_recommend,
    "converse": _check_converse,
    "tensors": _check_tensors,
}
