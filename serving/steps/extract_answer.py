"""The sentences of an article that answer a question: extracted, never made up. Pure."""

import re

from serving.types import Article
from serving.words import content_words, words_of

# A sentence ends at its mark, where a blank follows, or at a line break. "3.5" and "e.g." inside a
# line do not end one unless a capital or digit comes next.
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9\"'(])|\s*\n+\s*")
MAX_SENTENCES = 3
MAX_CHARS = 400


def sentences_of(text: str) -> list[str]:
    """The sentences of a text, without the blanks between them."""
    return [part.strip() for part in _SENTENCE_END.split(text) if part and part.strip()]


def extract_answer(question: str, article: Article) -> str:
    """Up to three sentences of the article, in its order.

    The first sentence is always among them, because articles begin with what they are about; the
    others are those that share most words with the question. A single sentence longer than
    `MAX_CHARS` code points is cut at a word. An article without a body answers with its title.
    """
    sentences = sentences_of(article.body)
    if not sentences:
        return article.title
    asked = content_words(question)
    shared = [len(asked & words_of(sentence)) for sentence in sentences]
    by_use = sorted(range(1, len(sentences)), key=lambda i: (-shared[i], i))
    chosen = [0]
    length = len(sentences[0])
    for i in by_use:
        if len(chosen) == MAX_SENTENCES:
            break
        if length + 1 + len(sentences[i]) <= MAX_CHARS:
            chosen.append(i)
            length += 1 + len(sentences[i])
    text = " ".join(sentences[i] for i in sorted(chosen))
    if len(text) <= MAX_CHARS:
        return text
    cut = text[:MAX_CHARS]
    return f"{cut.rsplit(maxsplit=1)[0]} …"
