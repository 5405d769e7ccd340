"""The log of decisions: one bounded file of JSON lines a deployment, and the process's logger."""

import logging
from pathlib import Path

from serving.scaling.decide import Action, Decision
from serving.scaling.observation import Observation
from serving.scaling.trace import Kind, write_entry

logger = logging.getLogger(__name__)

OLDER_SUFFIX = ".1"


class DecisionLog:
    """Writes changes at once, and what is held now and then.

    A file that cannot be written is complained of once and does not stop scaling.
    """

    def __init__(
        self,
        deployment: str,
        kind: Kind,
        folder: Path,
        *,
        max_bytes: int,
        hold_period_s: float,
        dry_run: bool,
    ) -> None:
        """Writes nothing yet.

        Args:
            deployment: whose decisions; names the file.
            kind: what its replicas report.
            folder: made if needed.
            max_bytes: of the file; beyond that it becomes the older one of two.
            hold_period_s: seconds between two lines while nothing changes.
            dry_run: whether the decisions are not carried out.
        """
        self.path = folder / f"{deployment}.jsonl"
        self._deployment = deployment
        self._kind = kind
        self._max_bytes = max_bytes
        self._hold_period_s = hold_period_s
        self._dry_run = dry_run
        self._last: Decision | None = None
        self._last_s = 0.0
        self._complained = False

    def note(self, decision: Decision, seen: Observation, unix_time_s: float) -> None:
        """Takes a decision and what it was made from; writes it if it is news or it is time."""
        if not self._is_due(decision, seen.time_s):
            return
        self._last, self._last_s = decision, seen.time_s
        line = write_entry(
            self._deployment, self._kind, unix_time_s, seen, decision, dry_run=self._dry_run
        )
        level = logging.DEBUG if decision.action is Action.HOLD else logging.INFO
        logger.log(level, "autoscaling %s", line)
        try:
            self._append(line)
        except OSError as error:
            if not self._complained:
                logger.warning("scaling.log_folder: %s: cannot be written: %s", self.path, error)
            self._complained = True

    def _is_due(self, decision: Decision, now_s: float) -> bool:
        last = self._last
        if last is None or now_s - self._last_s >= self._hold_period_s:
            return True
        return (decision.action, decision.target, decision.reason) != (
            last.action,
            last.target,
            last.reason,
        )

    def _append(self, line: str) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = line + "\n"
        with self.path.open("a", encoding="utf-8") as file:
            if file.tell() and file.tell() + len(text) > self._max_bytes:
                self.path.replace(self.path.with_name(self.path.name + OLDER_SUFFIX))
            else:
                file.write(text)
                return
        self.path.write_text(text, encoding="utf-8")
