"""Typed clients of the gRPC API, for asyncio and for blocking code.

    with CommerceClient("127.0.0.1:9000") as shop:
        reply = shop.converse("Where is my order 12345?", session_id="s1", deadline_ms=500)
        print(reply.text)

Replies are the messages of `serving/protos/commerce.proto`; failures are the errors of
`serving.errors`, chosen by status code. Every call needs a deadline in milliseconds, which holds
for all of its attempts together and travels with each one as the time that is left.

Only UNAVAILABLE is tried again. The server answers it before it has saved anything, so a turn of a
conversation is not taken twice; events are stored once by their `event_id` however often they are
sent. One case cannot be told apart: a connection that breaks after the server saved a turn and
before its reply arrived. Whoever would rather fail than risk a repeated turn gives
`RetryPolicy(max_attempts=1)`.
"""

from serving.client.asynchronous import AsyncCommerceClient
from serving.client.attempts import RetryPolicy
from serving.client.blocking import CommerceClient
from serving.client.errors import UnexpectedStatus

__all__ = ["AsyncCommerceClient", "CommerceClient", "RetryPolicy", "UnexpectedStatus"]
