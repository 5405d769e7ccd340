"""Looks again and again at what an alias means, and imports what it has moved to."""

from dataclasses import dataclass
from pathlib import Path

from model_build.exchange.mlflow_import import Imported, import_version
from model_build.exchange.mlflow_registry import MlflowRegistry, RegisteredVersion
from model_build.exchange.mlflow_uri import MlflowUri
from serving.errors import CartwrightError, InvalidRequest

# However often looks fail, the next one comes after so many seconds at the latest (or after the
# period, where that is longer).
LONGEST_PAUSE_S = 300.0


@dataclass(frozen=True, kw_only=True)
class Look:
    """What one look came to; neither import nor error: nothing has changed."""

    imported: Imported | None = None
    error: CartwrightError | None = None
    # The registry answered again, after looks that it did not.
    recovered: bool = False
    # Seconds until the next look.
    pause_s: float


class AliasWatch:
    """Follows one alias. Keeps no time: the caller waits between looks."""

    def __init__(
        self, registry: MlflowRegistry, uri: MlflowUri, repository: Path, period_s: float
    ) -> None:
        self._registry = registry
        self._uri = uri
        self._repository = repository
        self._period_s = period_s
        # Of the look before; None if that one could be made.
        self._failed_pause_s: float | None = None
        self._seen: RegisteredVersion | None = None

    def look(self) -> Look:
        """Asks what the alias means, and imports it unless it was seen by the look before.

        Errors of the tree are returned: an alias may appear, a server may come back, a lock be
        released. A version that cannot be served here is tried once, until the alias has moved.
        """
        imported: Imported | None = None
        refused: InvalidRequest | None = None
        try:
            imported = self._import_if_moved()
        except InvalidRequest as error:
            refused = error
        except CartwrightError as error:
            self._failed_pause_s = self._pause_after_failure_s()
            return Look(error=error, pause_s=self._failed_pause_s)
        recovered = self._failed_pause_s is not None
        self._failed_pause_s = None
        return Look(imported=imported, error=refused, recovered=recovered, pause_s=self._period_s)

    def _pause_after_failure_s(self) -> float:
        """The period at first, then twice as long each time."""
        if self._failed_pause_s is None:
            return self._period_s
        return min(2.0 * self._failed_pause_s, max(LONGEST_PAUSE_S, self._period_s))

    def _import_if_moved(self) -> Imported | None:
        source = self._registry.find(self._uri)
        if source == self._seen:
            return None
        try:
            imported = import_version(self._registry, source, self._repository)
        except InvalidRequest:
            # The next look would come to the same.
            self._seen = source
            raise
        self._seen = source
        return imported
