"""What is kept of answers: every one's entry in the ledger, the texts of a few, and counts of the
versions that are tried.

Called on the event loop for every request, so nothing here waits, and nothing here can fail one.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping

from serving.assets import ModelAssets
from serving.context import RequestContext
from serving.errors import CartwrightError, StartupError
from serving.ledger.entry import Entry, ModelUse
from serving.ledger.writer import Ledger
from serving.metrics.readings import Reading, ledger_readings, recorder_readings
from serving.models.version import ModelVersion
from serving.recording.key import masking_key
from serving.recording.recorder import KEY_FILE, Recorder, open_recorder
from serving.rollout.tally import Tally
from serving.settings import Settings
from serving.types import Choice, Understanding

_CUSTOMER_BYTES = 8
_DIGEST_CHARS = 12


class Books:
    """Keeps the books of one replica."""

    def __init__(
        self,
        ledger: Ledger | None,
        recorder: Recorder | None,
        tally: Tally,
        opened: Callable[[], Mapping[ModelVersion, ModelAssets]],
        key: bytes,
    ) -> None:
        """Opens nothing.

        Args:
            ledger: None keeps none.
            recorder: None records nothing.
            tally: counts what customers get of versions that are tried.
            opened: the versions that this replica can ask, for the artifacts' digests.
            key: of the customers' pseudonyms; the same for all replicas of a stack.
        """
        self.ledger = ledger
        self.recorder = recorder
        self._tally = tally
        self._opened = opened
        self._key = key
        # By model, version and arm: the same few for all requests.
        self._uses: dict[tuple[str, Choice], ModelUse] = {}

    def answered(
        self, method: str, context: RequestContext, error: BaseException | None, duration_ms: float
    ) -> None:
        """Enters a call that was let in, and that ends now.

        Args:
            method: its name.
            context: the request's.
            error: what it ends with; None for an answer.
            duration_ms: since it was let in.
        """
        code = _code(error)
        self._tally.answered(method, context, code, duration_ms)
        if self.ledger is None:
            return
        self.ledger.append(
            Entry(
                trace_id=context.trace_id,
                at_ms=time.time_ns() // 1_000_000,
                method=method,
                code=code,
                models=self._models(context),
                settings=self.ledger.settings_digest,
                degraded=tuple(context.degraded),
                duration_ms=duration_ms,
                customer=self._pseudonym(context.customer),
            )
        )

    def read(
        self,
        method: str,
        model: str,
        text: str,
        understanding: Understanding | None,
        context: RequestContext,
    ) -> None:
        """Offers a text that a model has read to the recorder, which takes a few of them."""
        if self.recorder is not None:
            choice = context.choices.get(model)
            arm = "" if choice is None else choice.arm.value
            self.recorder.offer(method, model, text, understanding, arm, context)

    def readings(self) -> list[Reading]:
        """Of both, for the metrics."""
        return [
            *(ledger_readings(self.ledger.stats()) if self.ledger is not None else []),
            *(recorder_readings(self.recorder.stats) if self.recorder is not None else []),
        ]

    async def close(self) -> None:
        """Writes what waits and closes the files."""
        if self.ledger is not None:
            self.ledger.close()
        if self.recorder is not None:
            await asyncio.to_thread(self.recorder.close)

    def _models(self, context: RequestContext) -> tuple[ModelUse, ...]:
        """The versions that had a part in the answer, in the order of the models' names."""
        used = []
        for model in sorted(context.model_versions):
            choice = context.choices.get(model)
            if choice is not None:
                used.append(self._uses.get((model, choice)) or self._use(model, choice))
        return tuple(used)

    def _use(self, model: str, choice: Choice) -> ModelUse:
        assets = self._opened().get(ModelVersion(model, choice.version))
        digest = "" if assets is None else assets.manifest.served_sha256[:_DIGEST_CHARS]
        use = ModelUse(model, choice.version, choice.arm.value, digest)
        if assets is not None:
            self._uses[model, choice] = use
        return use

    def _pseudonym(self, customer: str) -> str:
        if not customer:
            return ""
        digest = hashlib.blake2b(customer.encode(), digest_size=_CUSTOMER_BYTES, key=self._key)
        return digest.hexdigest()


def _code(error: BaseException | None) -> str:
    """Name of the gRPC status that the caller sees."""
    if error is None:
        return "OK"
    if isinstance(error, CartwrightError) and not isinstance(error, StartupError):
        return str(error.code.name)
    gone = isinstance(error, asyncio.CancelledError | GeneratorExit)
    return "CANCELLED" if gone else "INTERNAL"


def open_books(
    settings: Settings, tally: Tally, opened: Callable[[], Mapping[ModelVersion, ModelAssets]]
) -> Books:
    """Opens the books of a replica. Blocking.

    Raises:
        StartupError: a folder cannot be written to, or a key not be read.
    """
    ledger = None
    if settings.ledger.enabled:
        ledger = Ledger(settings.ledger, settings.model_dump_json())
    recorder = open_recorder(settings.recording, settings.stores)
    return Books(ledger, recorder, tally, opened, masking_key(settings.stores.folder / KEY_FILE))
