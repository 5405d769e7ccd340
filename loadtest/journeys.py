"""What customers do in the shop, as plain generators: they yield calls and pauses.

    journey = shopping(population)
    step = next(journey)            # Call("RecordEvents", ...)
    step = journey.send(reply)      # Think(3.1)
    step = journey.send(None)       # Call("Recommend", ...)

A reply of None is a call that failed: the customer goes on with what they have.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass

import numpy as np
from google.protobuf.message import Message

from loadtest.calls import Call, Journey, Think
from loadtest.population import Population
from serving.protos import commerce_pb2 as pb

# Medians of think times in seconds: a glance at a page, reading an answer, typing a sentence.
LOOK_S = 2.0
READ_S = 4.0
TYPE_S = 3.0
STREAM_SHARE = 0.5

Steps = Generator[Call | Think, Message | None, Message | None]


@dataclass(frozen=True)
class Visitor:
    """One customer on one visit."""

    session_id: str
    # Empty for somebody who has not signed in.
    customer_id: str


def arriving(population: Population) -> Visitor:
    """Somebody comes into the shop."""
    return Visitor(session_id=population.token(), customer_id=population.customer())


def shopping(population: Population) -> Journey:
    """Browses, asks, follows up, looks at recommendations, and perhaps buys."""
    visitor = arriving(population)
    seen = [population.product() for _ in range(population.whole(1, 3))]
    yield events(population, visitor, pb.EVENT_KIND_VIEW, seen)
    yield Think(population.pause_s(LOOK_S))
    yield recommend(population, visitor)
    yield Think(population.pause_s(LOOK_S))
    reply = yield from _say(population, visitor, population.text())
    yield from _follow_up(population, visitor, reply)
    found = yield recommend(population, visitor)
    items = found.items if isinstance(found, pb.RecommendReply) else ()
    wanted = items[0].product_id if items else seen[-1]
    yield Think(population.pause_s(LOOK_S))
    yield events(population, visitor, pb.EVENT_KIND_ADD_TO_CART, [wanted])
    yield decide(population, visitor)
    yield Think(population.pause_s(READ_S))
    if population.chance(0.4):
        yield events(population, visitor, pb.EVENT_KIND_PURCHASE, [wanted])
    else:
        yield events(population, visitor, pb.EVENT_KIND_REMOVE_FROM_CART, [wanted])


def seeking_help(population: Population) -> Journey:
    """Asks about an order, gives its number when asked, and looks something up."""
    number, customer_id = population.order()
    visitor = Visitor(session_id=population.token(), customer_id=customer_id)
    opening = f"where is my order {number}?" if population.chance(0.5) else "where is my order?"
    reply = yield from _say(population, visitor, opening)
    yield from _follow_up(population, visitor, reply, order_number=number)
    yield answer(population)
    yield Think(population.pause_s(READ_S))
    yield from _say(population, visitor, population.text())


def looking_around(population: Population) -> Journey:
    """Looks at a few products, asks one question, and leaves."""
    visitor = Visitor(session_id=population.token(), customer_id="")
    for _ in range(population.whole(1, 3)):
        yield events(population, visitor, pb.EVENT_KIND_VIEW, [population.product()])
        yield recommend(population, visitor)
        yield Think(population.pause_s(LOOK_S))
    yield answer(population)
    yield Think(population.pause_s(READ_S))


JOURNEYS: tuple[tuple[float, Callable[[Population], Journey]], ...] = (
    (0.45, shopping),
    (0.30, seeking_help),
    (0.25, looking_around),
)
_WEIGHTS = np.array([weight for weight, _ in JOURNEYS])


def draw_journey(population: Population) -> Journey:
    """One of `JOURNEYS`, by its weight."""
    return JOURNEYS[population.choice(_WEIGHTS)][1](population)


def converse(population: Population, visitor: Visitor, text: str, *, stream: bool) -> Call:
    """One turn of a conversation."""
    method = "ConverseStream" if stream else "Converse"
    return Call(
        method,
        pb.ConverseRequest(
            session_id=visitor.session_id, customer_id=visitor.customer_id, text=text
        ),
    )


def answer(population: Population) -> Call:
    """A question to the knowledge base."""
    return Call("Answer", pb.AnswerRequest(question=population.question()))


def recommend(population: Population, visitor: Visitor) -> Call:
    """Products for a page: a strip of five or a grid of twenty."""
    return Call(
        "Recommend",
        pb.RecommendRequest(
            customer_id=visitor.customer_id,
            session_id=visitor.session_id,
            top_k=20 if population.chance(0.2) else 5,
        ),
    )


def decide(population: Population, visitor: Visitor) -> Call:
    """What to do for a customer who is about to pay."""
    return Call(
        "Decide",
        pb.DecideRequest(
            session_id=visitor.session_id,
            customer_id=visitor.customer_id,
            text=population.text(),
        ),
    )


def events(
    population: Population, visitor: Visitor, kind: "pb.EventKind", product_ids: list[str]
) -> Call:
    """What the customer did, as the shop's page reports it."""
    return Call(
        "RecordEvents",
        pb.RecordEventsRequest(
            events=[
                pb.Event(
                    event_id=population.token(),
                    customer_id=visitor.customer_id,
                    session_id=visitor.session_id,
                    kind=kind,
                    product_id=product_id,
                )
                for product_id in product_ids
            ]
        ),
    )


def _say(population: Population, visitor: Visitor, text: str) -> Steps:
    """Types a text, sends it, and reads the reply, which is returned."""
    yield Think(population.pause_s(TYPE_S))
    reply = yield converse(population, visitor, text, stream=population.chance(STREAM_SHARE))
    yield Think(population.pause_s(READ_S))
    return reply


def _follow_up(
    population: Population, visitor: Visitor, reply: Message | None, order_number: str = ""
) -> Steps:
    """Gives what the agent asked for, or says something else."""
    asked = reply.requested_slot if isinstance(reply, pb.ConverseReply) else ""
    if asked == "order_number":
        text = f"it's {order_number or population.order()[0]}"
    else:
        text = population.text()
    return (yield from _say(population, visitor, text))
