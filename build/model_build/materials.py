"""What the models are made from: loaded or made when first asked for, then kept for the build."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from model_build.data import bitext, ecommerce_faq, online_retail
from model_build.data.bitext import load_bitext
from model_build.data.online_retail import load_online_retail
from model_build.data.shop import synthetic_shop
from model_build.data.splits import split_by_group
from model_build.data.types import LabelledUtterance, Shop, UtteranceSplit
from model_build.data.utterances import synthetic_utterances
from model_build.profiles import Profile
from model_build.train.timeline import Timeline, cut
from serving.errors import StartupError
from serving.models.manifest import sha256_of

HELD_OUT_SHARE = 0.15
SYNTHETIC = "synthetic"
REAL_UTTERANCES = "bitext"
# A stream of random numbers for each purpose: work for one leaves the others as they were.
_STREAMS = ("shop", "utterances", "split", "real_split", "timeline", "held_out", "training")


@dataclass(frozen=True)
class Materials:
    """Data of one build. Without a data folder everything is synthetic."""

    seed: int
    profile: Profile
    data_folder: Path | None = None

    def rng(self, purpose: str, number: int = 0) -> np.random.Generator:
        """The generator of one purpose; the same arguments give the same stream."""
        return np.random.default_rng([self.seed, _STREAMS.index(purpose), number])

    def check(self) -> None:
        """Looks whether all files of the data folder are there.

        Raises:
            StartupError: the folder or a file is missing; names it.
        """
        if self.data_folder is None:
            return
        if not self.data_folder.is_dir():
            raise StartupError(f"--data: {self.data_folder}: is not a folder")
        for path in self.files:
            if not path.is_file():
                raise StartupError(f"--data: {path}: is missing")

    @property
    def files(self) -> list[Path]:
        """The files that are read from the data folder."""
        if self.data_folder is None:
            return []
        faq = self.data_folder / ecommerce_faq.FILE
        return [
            *(self.data_folder / "bitext" / name for name in bitext.FILES),
            self.data_folder / online_retail.FILE,
            *([faq] if faq.is_file() else []),
        ]

    @cached_property
    def source_digest(self) -> str:
        """Digest of what the data comes from: files and seed. The making of it is in the code."""
        parts = [f"seed {self.seed}", *(sha256_of(path) for path in self.files)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @cached_property
    def shop(self) -> Shop:
        """The shop."""
        if self.data_folder is not None:
            return load_online_retail(self.data_folder)
        return synthetic_shop(self.seed)

    @cached_property
    def timeline(self) -> Timeline:
        """The shop's interactions, cut by time."""
        return cut(self.shop, self.rng("timeline"), self.profile.customers_share)

    @cached_property
    def synthetic_utterances(self) -> UtteranceSplit:
        """Utterances about the shop with all labels, split by template."""
        per_intent = (
            self.profile.utterances_per_intent
            if self.data_folder is None
            else self.profile.utterances_per_intent_beside_real
        )
        utterances = synthetic_utterances(self.shop, self.rng("utterances"), per_intent)
        return split_by_group(utterances, HELD_OUT_SHARE, self.rng("split"))

    @cached_property
    def real_utterances(self) -> UtteranceSplit | None:
        """Utterances of the data folder with their intents, split by group; None without one."""
        if self.data_folder is None:
            return None
        return split_by_group(load_bitext(self.data_folder), HELD_OUT_SHARE, self.rng("real_split"))

    @property
    def train_utterances(self) -> tuple[LabelledUtterance, ...]:
        """Utterances to learn from, real ones first."""
        real = self.real_utterances
        if real is None:
            return self.synthetic_utterances.train
        chosen = sample(real.train, self.profile.most_real_utterances, self.rng("training"))
        return (*chosen, *self.synthetic_utterances.train)

    @property
    def held_out_utterances(self) -> dict[str, tuple[LabelledUtterance, ...]]:
        """Held-out utterances by source; the one that quality is claimed for comes first."""
        synthetic = {SYNTHETIC: self.synthetic_utterances.held_out}
        real = self.real_utterances
        return synthetic if real is None else {REAL_UTTERANCES: real.held_out, **synthetic}


def sample(
    utterances: Sequence[LabelledUtterance], at_most: int, rng: np.random.Generator
) -> tuple[LabelledUtterance, ...]:
    """Up to `at_most` utterances in their order."""
    chosen = np.sort(rng.permutation(len(utterances))[:at_most])
    return tuple(utterances[i] for i in chosen)
