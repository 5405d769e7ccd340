"""RecordEvents: events ─▶ check ─▶ store; the very next recommendation knows them."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from serving.catalogue import Catalogue
from serving.context import RequestContext, observe_step
from serving.errors import InvalidRequest
from serving.stores.protocols import HistoryStore
from serving.types import Event

# Clocks differ; an event further in the future would stay the customer's latest for ever.
MAX_AHEAD_MS = 24 * 3600 * 1000


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What became of a batch of events."""

    stored: int
    # Events whose id was known already.
    duplicates: int


class RecordEventsPipeline:
    """Takes what customers do."""

    def __init__(self, histories: HistoryStore, catalogue: Catalogue) -> None:
        self._histories = histories
        self._catalogue = catalogue

    async def __call__(self, events: Sequence[Event], context: RequestContext) -> Recorded:
        """Stores all events or none; durable once this returns. Idempotent by event id.

        Raises:
            InvalidRequest: an event names no subject, a product that the catalogue does not have,
                or a time more than a day ahead.
            StoreUnavailable: the events cannot be written.
        """
        products = (await self._catalogue.current()).products
        latest_ms = int(time.time() * 1000) + MAX_AHEAD_MS
        for index, event in enumerate(events):
            at = f"events[{index}]"
            if not event.customer_id and not event.session_id:
                raise InvalidRequest(f"{at}.customer_id", "is empty, and so is session_id")
            if event.product_id not in products:
                raise InvalidRequest(
                    f"{at}.product_id", f"the catalogue has no product {event.product_id!r}"
                )
            if event.occurred_at_ms > latest_ms:
                raise InvalidRequest(
                    f"{at}.occurred_at_ms", f"{event.occurred_at_ms} is more than a day ahead"
                )
        context.deadline.require(0.0, "storing the events")
        with observe_step(context, "store_events"):
            stored = await self._histories.append(events)
        return Recorded(stored=stored, duplicates=len(events) - stored)
