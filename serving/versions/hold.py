"""Lets previous versions go once they have been held for long enough."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping

from serving.errors import Conflict, StoreUnavailable
from serving.versions.lineup import StepRefused, release
from serving.versions.resident import AUTHOR
from serving.versions.store import Entry, VersionStore

logger = logging.getLogger(__name__)

PERIOD_S = 5.0


async def keep_releasing(
    entries: Callable[[], Mapping[str, Entry]],
    store: VersionStore,
    hold_s: float,
    *,
    period_s: float = PERIOD_S,
) -> None:
    """Releases previous versions until it is cancelled. Several replicas may run it.

    Args:
        entries: the newest entry of each model, as this process knows it.
        store: where the step is taken.
        hold_s: seconds since the model's last step.
        period_s: seconds between two looks.
    """
    while True:
        await asyncio.sleep(period_s)
        now_ms = time.time_ns() // 1_000_000
        for model, entry in entries().items():
            if entry.lineup.previous is None or now_ms - entry.at_ms < hold_s * 1000.0:
                continue
            try:
                await asyncio.to_thread(_release, store, model, entry, hold_s)
            except (Conflict, StepRefused):
                # Another replica was faster, or somebody took another step.
                continue
            except StoreUnavailable as error:
                logger.warning("%s: the previous version stays: %s", model, error.message)


def _release(store: VersionStore, model: str, entry: Entry, hold_s: float) -> None:
    store.apply(
        model,
        release,
        action="release",
        author=AUTHOR,
        reason=f"held for {hold_s:g} s after the last step",
        expected_revision=entry.revision,
    )
