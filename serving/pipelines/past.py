"""What is known of a customer or visitor when a request comes in."""

from collections.abc import Iterable
from dataclasses import dataclass

from serving.concurrently import task_group
from serving.features import history_products
from serving.stores.protocols import HistoryEntry, HistoryStore
from serving.types import EventKind

# Events looked back on, by the models and by the decision's features.
LENGTH = 50


@dataclass(frozen=True, kw_only=True)
class Past:
    """The last events of a customer and of the session together."""

    # Oldest first.
    entries: tuple[HistoryEntry, ...] = ()
    # False only for a customer id that the shop has never seen.
    customer_known: bool = True

    def interests(self) -> tuple[str, ...]:
        """Product ids as the models read them, oldest first; what left the cart is no interest."""
        kept = [e.product_id for e in self.entries if e.kind != EventKind.REMOVE_FROM_CART]
        return tuple(history_products(kept))

    def has_already(self) -> frozenset[str]:
        """Products that were bought, or lie in the cart."""
        having: set[str] = set()
        for entry in self.entries:
            if entry.kind == EventKind.REMOVE_FROM_CART:
                having.discard(entry.product_id)
            elif entry.kind in (EventKind.PURCHASE, EventKind.ADD_TO_CART):
                having.add(entry.product_id)
        return frozenset(having)

    def count(self, kinds: Iterable[EventKind]) -> int:
        """How many of the entries are of these kinds."""
        wanted = frozenset(kind.value for kind in kinds)
        return sum(entry.kind in wanted for entry in self.entries)


async def load_past(histories: HistoryStore, *, customer_id: str, session_id: str) -> Past:
    """Reads the past of a customer, a session, or both; "" leaves one out.

    Raises:
        StoreUnavailable: the store cannot be read.
    """
    if not customer_id:
        if not session_id:
            return Past()
        return Past(entries=tuple(await histories.recent(session_id=session_id, limit=LENGTH)))
    async with task_group() as group:
        recent = group.create_task(
            histories.recent(customer_id=customer_id, session_id=session_id, limit=LENGTH)
        )
        exists = group.create_task(histories.customer_exists(customer_id))
    return Past(entries=tuple(recent.result()), customer_known=exists.result())
