"""Takes steps with the versions of one model, as an admin at a terminal does."""

import textwrap
import time

from rich.console import Console

from serving.cli.connection import Connection
from serving.cli.rollout import follow_rollout
from serving.client import CommerceClient
from serving.errors import Conflict, FailedPrecondition
from serving.protos import commerce_pb2 as pb
from serving.versions.lineup import MAX_TEXT

# A look costs the replica that answers it two milliseconds.
_LOOK_PERIOD_S = 0.5
_INTERRUPTED = 130
# Stages in which hosts have a version loaded.
_RESIDENT = frozenset({"shadow", "canary", "live", "previous"})
_TRIED = frozenset({"shadow", "canary"})


class VersionSteps:
    """Takes steps with one model, each upon what the last reply showed."""

    def __init__(
        self, connection: Connection, client: CommerceClient, model: str, author: str, reason: str
    ) -> None:
        self._connection = connection
        self._client = client
        self._model = model
        self._author = author
        self._reason = reason
        self._progress = Console(stderr=True, highlight=False)
        self.state = self._look()

    def take(
        self, action: str, version: int, *, percent: float = 0.0, force: bool = False
    ) -> pb.ShowModelReply:
        """Takes one step; somebody else's in between is a conflict."""
        self.state = self._client.change_model(
            self._model,
            action,
            version=version,
            canary_percent=percent,
            author=self._author,
            reason=self._reason,
            expected_revision=self.state.revision,
            force=force,
            deadline_ms=self._connection.deadline_ms,
        )
        return self.state

    def load(self, version: int, timeout_s: float) -> None:
        """Has every host load a version, and waits for that.

        One that cannot be loaded is withdrawn again: nobody was answered by it.

        Raises:
            FailedPrecondition: a host cannot load it, with Triton's reason; or it took too long; or
                another one is being tried.
            Conflict: somebody took a step with it meanwhile; names who.
        """
        began_s = time.monotonic()
        self._require_nothing_else_is_tried(version)
        withdraw = self._stage_of(version) not in _RESIDENT
        if self._stage_of(version) == "published":
            self.take("stage", version)
        if withdraw:
            self.take("shadow", version)
            self._progress.print(f"{self._model}: version {version} is loaded on every host …")
        stage = self._stage_of(version)
        while True:
            status = self._status(version)
            if status.stage != stage:
                # Loaded or not: whether to promote or to withdraw it is not ours to say any more.
                raise Conflict(
                    f"{self._model}: version {version} is {status.stage} now, and not {stage}: "
                    f"{self._last_step()}"
                )
            waiting = set(self.state.serving_host_ids) - set(status.ready_host_ids)
            ready = bool(self.state.serving_host_ids) and not waiting and status.open
            if ready and not status.faults:
                if withdraw:
                    self._progress.print(f"ready after {time.monotonic() - began_s:.1f} s")
                return
            why = "; ".join(f"{where}: {fault}" for where, fault in sorted(status.faults.items()))
            if why or time.monotonic() - began_s > timeout_s:
                if withdraw:
                    reason = f"{self._reason} (withdrawn: {why or 'not ready in time'})"
                    self._reason = textwrap.shorten(reason, MAX_TEXT, placeholder=" …")
                    self.take("rollback", 0)
                where = ", ".join(sorted(waiting)) or "the replica"
                late = f"not ready on {where} within {timeout_s:g} s"
                raise FailedPrecondition(f"{self._model}: version {version}: {why or late}")
            time.sleep(_LOOK_PERIOD_S)
            self.state = self._look()

    def roll_out(self, version: int, *, force: bool, follow: bool) -> pb.ShowModelReply:
        """Begins a rollout, which the stack goes on with, and follows it to its end.

        Raises:
            FailedPrecondition: the version was withdrawn, or somebody took another step.
        """
        self._require_nothing_else_is_tried(version)
        if self._stage_of(version) == "published":
            self.take("stage", version)
        self.take("roll out", version, force=force)
        if follow:
            try:
                self.state = follow_rollout(self._look, version, self._progress)
            except KeyboardInterrupt:
                self._progress.print(
                    f"the stack goes on with it: `cartwright models show {self._model}` tells how "
                    f"it stands, `cartwright models rollback {self._model}` ends it"
                )
                raise SystemExit(_INTERRUPTED) from None
        return self.state

    def _require_nothing_else_is_tried(self, version: int) -> None:
        """So that nobody who is late anyway takes a first step, upon which others would stumble."""
        for status in self.state.versions:
            if status.stage in _TRIED and status.version != version:
                raise FailedPrecondition(
                    f"{self._model}: version {status.version} is being tried: withdraw it first; "
                    f"the last step: {self._last_step()}"
                )

    def _last_step(self) -> str:
        last = self.state.last_step
        return f"{last.author} did {last.action!r}"

    def _look(self) -> pb.ShowModelReply:
        return self._client.show_model(self._model, deadline_ms=self._connection.deadline_ms)

    def _status(self, version: int) -> pb.VersionStatus:
        found = [status for status in self.state.versions if status.version == version]
        if not found:
            raise FailedPrecondition(f"{self._model}: version {version} is not published")
        return found[0]

    def _stage_of(self, version: int) -> str:
        return self._status(version).stage
