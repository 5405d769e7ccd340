"""Runs gates on a published version."""

import asyncio
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from model_build.checkpoint import CHECKPOINT_ENTRY
from model_build.materials import Materials
from model_build.promotion.finding import Finding
from model_build.promotion.held_out.evaluation import Evaluation
from model_build.promotion.held_out.sources import evaluation_of, learnt_from, materials_of
from model_build.promotion.latency import LatencyOptions, Watch, judge_latency, measure
from model_build.promotion.parity import judge_parity
from model_build.promotion.quality import judge_quality
from model_build.promotion.verdicts import verdict_of
from model_build.promotion.version_hosts import Asked, open_hosts
from model_build.specs import SPECS
from model_build.tune.host import PointFailed
from model_build.tune.requests import make_bodies, read_texts, takes_text, usual_rows
from serving.models.repository import PublishedVersion
from serving.settings import TritonSettings
from serving.versions.verdict import Gate, Outcome, Verdict


@dataclass(frozen=True, kw_only=True)
class LatencyTask:
    """What the latency gate needs beside the versions."""

    settings: TritonSettings
    options: LatencyOptions
    # Its held-out utterances are the texts of models that take text.
    shop: Path
    seed: int


class Gates:
    """The gates of one version. Blocking; each call measures for as long as it takes."""

    def __init__(
        self,
        candidate: PublishedVersion,
        live: PublishedVersion | None,
        *,
        data_folder: Path | None,
        candidates: Callable[[], PublishedVersion],
    ) -> None:
        """Measures nothing yet.

        Args:
            candidate: to be promoted.
            live: to compare with; None if nothing is live.
            data_folder: public data that the version was built from; None for the synthetic shop.
            candidates: the version of `candidates` whose lists the ranker orders.

        Raises:
            StartupError: a version is not there or corrupt; names the file.
        """
        for version in (candidate, live):
            if version is not None:
                version.verify()
        self._candidate = candidate
        self._live = live
        self._data_folder = data_folder
        self._candidates = candidates

    def parity(self) -> Verdict:
        """See `promotion.parity`.

        Raises:
            StartupError: an artifact, an asset or the data are unusable; names the file.
        """
        return self._verdict(Gate.PARITY, judge_parity(self._candidate, self._evaluation))

    def quality(self) -> Verdict:
        """See `promotion.quality`.

        Raises:
            StartupError: as for `parity`.
        """
        live = self._required_live()
        finding = judge_quality(
            self._candidate, live, self._evaluation, self._doubts(), self._remarks(live)
        )
        return self._verdict(Gate.QUALITY, finding)

    def latency(self, task: LatencyTask, watch: Watch) -> Verdict:
        """See `promotion.latency`. `watch` is told how far it is.

        Raises:
            StartupError: there is no tritonserver that can run here, or the live version cannot be
                measured.
            ServerLost: the server ended.
        """
        live = self._required_live()
        with tempfile.TemporaryDirectory(prefix="cartwright-gate-") as scratch:
            finding, tritonserver = asyncio.run(self._latency(task, live, Path(scratch), watch))
        return self._verdict(Gate.LATENCY, finding, {"tritonserver": tritonserver})

    async def _latency(
        self, task: LatencyTask, live: PublishedVersion, scratch: Path, watch: Watch
    ) -> tuple[Finding, str]:
        spec = SPECS[self._candidate.manifest.model]
        texts = read_texts(task.shop, None) if takes_text(spec) else []
        asked = [
            # The same texts, in the same order, through each version's own tokenizer.
            Asked(
                version=version,
                bodies=make_bodies(
                    spec, version, usual_rows(spec), texts, np.random.default_rng(task.seed)
                ),
            )
            for version in (self._candidate, live)
        ]
        async with open_hosts(task.settings, scratch, asked) as (ours, theirs):
            tritonserver = await ours.server_version()
            try:
                rounds = await measure(ours, theirs, task.options, watch)
            except PointFailed as error:
                reason = f"Triton cannot serve it: {' '.join(str(error).split())}"
                return Finding(outcome=Outcome.FAILED, reason=reason), tritonserver
            return judge_latency(rounds, task.options), tritonserver

    @cached_property
    def _materials(self) -> Materials:
        return materials_of(self._candidate, self._data_folder)

    @cached_property
    def _evaluation(self) -> Evaluation:
        return evaluation_of(self._candidate.manifest.model, self._materials, self._candidates)

    def _doubts(self) -> list[str]:
        """Why the candidate may know the samples."""
        if learnt_from(self._candidate, self._materials):
            return []
        hint = "" if self._data_folder else "; give its folder of data with --data"
        if CHECKPOINT_ENTRY in self._candidate.manifest.config:
            hint = "; if it knows none, publish it with --held-out-unseen"
        return [
            f"It has learnt from other data ({self._candidate.manifest.data_name!r}) than these "
            f"samples belong to, and may know some of them{hint}."
        ]

    def _remarks(self, live: PublishedVersion) -> list[str]:
        """Why the live version may have an advantage."""
        if learnt_from(live, self._materials):
            return []
        return [f"Version {live.manifest.version} has learnt from other data, and may know some."]

    def _required_live(self) -> PublishedVersion:
        if self._live is None:
            raise ValueError("there is no version to compare with")
        return self._live

    def _verdict(
        self, gate: Gate, finding: Finding, environment: Mapping[str, str] | None = None
    ) -> Verdict:
        manifest = self._candidate.manifest
        return verdict_of(
            gate,
            finding,
            model=manifest.model,
            version=manifest.version,
            against=self._live.manifest.version if gate.compares and self._live else None,
            environment=environment,
        )
