"""`understanding` in its gates: the figures are those that the training measures."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from model_build.data.types import LabelledUtterance, SlotSpan
from model_build.parity import INTENT_LABEL
from model_build.promotion.held_out.evaluation import names_in, served, tokenizer_of
from model_build.promotion.held_out.understanding import SCORES, UnderstandingEvaluation, answers
from model_build.train.understanding_metrics import Predictions, score
from model_build.train.utterances import encode_utterances
from serving.dialogue.intents import INTENT_NAMES, SLOT_TAGS
from serving.errors import StartupError
from serving.models.repository import PublishedVersion
from serving.types import Sentiment
from tests.fakes.promotion import publish_understanding
from tests.fakes.tokens import small_tokenizer

WORDS = [f"{letter}{vowel}" for letter in "bdfgklmn" for vowel in "aeiou"]
TOKENIZER = small_tokenizer(WORDS)


def tables(seed: int) -> dict[str, NDArray[np.float32]]:
    """What each token says, at random."""
    rng = np.random.default_rng(seed)
    sizes = {
        "intent_logits": len(INTENT_NAMES),
        "slot_logits": len(SLOT_TAGS),
        "sentiment_logits": len(Sentiment),
        "out_of_scope_logit": 1,
    }
    made = {
        name: rng.normal(size=(TOKENIZER.get_vocab_size(), size)).astype(np.float32)
        for name, size in sizes.items()
    }
    # Most tokens belong to no slot.
    made["slot_logits"][:, SLOT_TAGS.index("O")] += 1.5
    return made


@pytest.fixture
def version(tmp_path: Path) -> PublishedVersion:
    return publish_understanding(tmp_path, 1, tables(1), TOKENIZER)


def texts(count: int = 120) -> list[str]:
    rng = np.random.default_rng(9)
    return [" ".join(rng.choice(WORDS, int(rng.integers(1, 7)))) for _ in range(count)]


def labelled(version: PublishedVersion) -> list[LabelledUtterance]:
    """Utterances of which the version gets some right, in every respect."""
    rng = np.random.default_rng(10)
    spoken = [
        LabelledUtterance(
            text=text, intent=None, slots=None, sentiment=None, out_of_scope=None, group=text[:1]
        )
        for text in texts()
    ]
    made = []
    for utterance, answer in zip(spoken, answers(version, spoken), strict=True):
        slots = tuple(
            SlotSpan(name=name, start_char=start, end_char=end)
            for name, start, end in answer.slots
            if rng.random() < 0.7
        )
        intent = answer.intent if rng.random() < 0.6 else INTENT_NAMES[0]
        outside = answer.out_of_scope == (rng.random() < 0.8)
        made.append(
            LabelledUtterance(
                text=utterance.text,
                intent=None if outside else intent,
                slots=slots,
                sentiment=Sentiment(answer.sentiment) if rng.random() < 0.7 else Sentiment.NEUTRAL,
                out_of_scope=outside,
                group=utterance.group,
            )
        )
    return made


def trainings_figures(
    version: PublishedVersion, utterances: list[LabelledUtterance]
) -> Mapping[str, float]:
    encoded = encode_utterances(utterances, tokenizer_of(version))
    run = served(version)
    outputs = [
        run({"input_ids": e.input_ids[None], "attention_mask": np.ones_like(e.input_ids)[None]})
        for e in encoded
    ]
    return score(
        {
            "all": Predictions(
                encoded=tuple(encoded),
                intent_logits=np.concatenate([o["intent_logits"] for o in outputs]),
                slot_logits=tuple(o["slot_logits"][0] for o in outputs),
                sentiment_logits=np.concatenate([o["sentiment_logits"] for o in outputs]),
                out_of_scope_logits=np.concatenate(
                    [o["out_of_scope_logit"][:, 0] for o in outputs]
                ),
            )
        }
    )


def test_the_gate_measures_what_the_training_measures(version: PublishedVersion) -> None:
    utterances = labelled(version)
    wanted = trainings_figures(version, utterances)
    given = answers(version, utterances)
    for name, measure in SCORES.items():
        scores = measure(utterances, given)
        figure = scores.gained.sum() / scores.possible.sum()
        assert figure == pytest.approx(wanted[name], abs=1e-12)
        assert 0.2 < figure < 0.95
    assert set(SCORES) <= set(wanted)


def test_two_versions_are_compared_by_source_and_what_was_lost_is_told(
    version: PublishedVersion, tmp_path: Path
) -> None:
    other = publish_understanding(tmp_path, 2, tables(2), TOKENIZER)
    utterances = labelled(version)
    bare = [
        LabelledUtterance(
            text=u.text,
            intent=u.intent,
            slots=None,
            sentiment=None,
            out_of_scope=None,
            group=u.group,
        )
        for u in utterances
    ]
    found = UnderstandingEvaluation({"real": bare, "made": utterances}).quality(other, version)
    figures = {c.name: c for c in found.comparisons}
    # Only the first source that has labels of a kind gives the plain name.
    assert list(figures) == [
        "intent_accuracy",
        "made.intent_accuracy",
        "slot_f1",
        "sentiment_accuracy",
        "out_of_scope_accuracy",
    ]
    assert figures["intent_accuracy"].candidate == figures["made.intent_accuracy"].candidate
    assert figures["intent_accuracy"].candidate < 0.2 < figures["intent_accuracy"].live
    assert figures["intent_accuracy"].groups == len({u.group for u in utterances if u.intent})
    assert found.basis == "120 real utterances of 8 groups, 120 made utterances of 8 groups"
    of_intent = found.lost["intent_accuracy"]
    assert 0 < len(of_intent) < 120
    # One of each intent first.
    wanted = [line.rpartition("right: ")[2].split(" (")[0] for line in of_intent]
    kinds = len(set(wanted))
    assert 1 < kinds == len(set(wanted[:kinds]))
    text, _, said = of_intent[0].partition(": ")
    assert text.strip("'") in {u.text for u in utterances}
    assert "; live: " in said
    assert "; right: " in said
    again = UnderstandingEvaluation({"made": utterances}).quality(version, version)
    assert not any(again.lost.values())


def test_versions_may_number_their_classes_differently(
    version: PublishedVersion, tmp_path: Path
) -> None:
    order = np.random.default_rng(3).permutation(len(INTENT_NAMES))
    moved = tables(1)
    moved["intent_logits"] = moved["intent_logits"][:, order]
    names = [INTENT_NAMES[i] for i in order]
    other = publish_understanding(tmp_path, 2, moved, TOKENIZER, names)
    utterances = labelled(version)
    assert answers(other, utterances) == answers(version, utterances)
    evaluation = UnderstandingEvaluation({"made": utterances})
    (sample, *_), (of_other, *_) = (evaluation.samples(v) for v in (version, other))
    assert sample.names == of_other.names
    known = sample.inputs[INTENT_LABEL] >= 0
    assert known.any()
    assert not known.all()
    assert [INTENT_NAMES[i] for i in sample.inputs[INTENT_LABEL][known]] == [
        names[i] for i in of_other.inputs[INTENT_LABEL][known]
    ]


def test_assets_that_are_none_are_named(version: PublishedVersion) -> None:
    (version.folder / "labels.json").write_text('{"intents": "many"}')
    with pytest.raises(StartupError, match=r"labels\.json: intents: is not a list of names"):
        names_in(version, "labels.json", "intents")
    manifest = version.manifest.model_copy(update={"config": {}})
    manifest.write(version.folder)
    with pytest.raises(StartupError, match=r"manifest\.json: config\.max_length: None"):
        tokenizer_of(PublishedVersion(version.folder))
