"""A small tokenizer of the same kind as the real one: BERT's rules over a vocabulary of its own."""

import string
from collections.abc import Iterable

import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, processors

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


def small_tokenizer(words: Iterable[str] = ()) -> tokenizers.Tokenizer:
    """WordPiece that knows `words` whole, and spells any other word of letters and digits."""
    characters = string.ascii_lowercase + string.digits
    spelling = [*characters, *(f"##{c}" for c in characters), *string.punctuation]
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys([*SPECIAL, *words, *spelling]))}
    tokenizer = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    return tokenizer
