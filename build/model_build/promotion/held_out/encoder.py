"""`encoder` on the knowledge base: does the title of an article find its body among all others?

The encoder is served as it was pretrained and learns from no data of ours, so that every article is
held out. Its training measures nothing; this is the known-item search that serving does, by meaning
alone.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model_build.promotion.held_out.evaluation import Quality, Sample, served, tokenizer_of
from model_build.promotion.paired import Scores, compare
from serving.models.repository import PublishedVersion
from serving.types import Article

# Of the mean reciprocal rank.
MARGIN = 0.03
_BATCH = 16


class EncoderEvaluation:
    """Articles with titles that ask for them."""

    def __init__(self, articles: Sequence[Article]) -> None:
        self._articles = articles

    def samples(self, version: PublishedVersion) -> list[Sample]:
        """Titles and bodies of similar length in batches."""
        tokenizer = tokenizer_of(version)
        texts = sorted((text for a in self._articles for text in (a.title, a.body)), key=len)
        return [
            Sample(
                inputs=tokenizer.encode(texts[start : start + _BATCH]).inputs(),
                names=tuple(repr(text) for text in texts[start : start + _BATCH]),
            )
            for start in range(0, len(texts), _BATCH)
        ]

    def quality(self, candidate: PublishedVersion, live: PublishedVersion) -> Quality:
        """Mean reciprocal rank of the right body."""
        ours, theirs = self._ranks(candidate), self._ranks(live)
        comparison = compare(
            "mean_reciprocal_rank",
            Scores.mean_of(1.0 / ours),
            Scores.mean_of(1.0 / theirs),
            margin=MARGIN,
        )
        worse = np.flatnonzero(ours > theirs)
        lost = [
            f"{self._articles[i].title!r}: its article comes {_nth(ours[i])}; live: "
            f"{_nth(theirs[i])}"
            for i in worse[np.argsort(1.0 / ours[worse] - 1.0 / theirs[worse], kind="stable")]
        ]
        return Quality(
            basis=f"{len(self._articles)} articles",
            comparisons=(comparison,),
            lost={comparison.name: lost},
        )

    def _ranks(self, version: PublishedVersion) -> NDArray[np.int64]:
        """Rank of each article's body when its title is asked for, from 1: int64 [n]."""
        titles = _vectors(version, [a.title for a in self._articles])
        bodies = _vectors(version, [a.body for a in self._articles])
        similar = titles @ bodies.T
        # Those as similar come before it: a model for which all is alike finds nothing.
        return np.asarray((similar >= np.diag(similar)[:, None]).sum(axis=1), np.int64)


def _vectors(version: PublishedVersion, texts: Sequence[str]) -> NDArray[np.float32]:
    """float32 [n, 384]; one text at a time, since an int8 model's answer depends on its batch."""
    tokenizer, run = tokenizer_of(version), served(version)
    return np.concatenate([run(tokenizer.encode([text]).inputs())["embedding"] for text in texts])


def _nth(rank: np.int64) -> str:
    return "first" if rank == 1 else f"number {rank}"
