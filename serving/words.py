"""Words that carry meaning in a text, in one normal form: for matching, never for showing."""

import re
import unicodedata
from functools import lru_cache

# Bounds of what is kept, by the least recently used.
_WORDS_KEPT = 32_768
_TEXTS_KEPT = 2_048

# The underscore is a gap between words.
_WORD = re.compile(r"[^\W_]+")

# English function words and the phrases in which questions are asked: they say nothing about what
# is asked for. Words of other languages pass, and count like any other.
_STOP_WORDS = """
a about after again all also am an and any anything are as at be because been before being but
by can cannot could did do does doing don for from get give go going got had has have having
he hello help her here hey hi him his how i if in into is it its just know let like ll ma may
me might more most much must my need no not now of off ok okay on one only or other our out
over own please re s shall she should show so some somebody someone something such t tell than
thank thanks that the their them then there these they thing things this those through to too
under until up us ve very want was we were what when where which while who whom why will with
would you your yours
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())


@lru_cache(_WORDS_KEPT)
def normal_form(word: str) -> str:
    """A word in lower case without accents and English plural.

    The plural is taken off by the three rules of the "S stemmer" (D. Harman, "How effective is
    suffixing?", JASIS 42, 1991): it joins "mugs" and "mug" and hardly ever joins what differs.
    """
    decomposed = unicodedata.normalize("NFKD", word.casefold())
    plain = "".join(c for c in decomposed if not unicodedata.combining(c))
    if len(plain) > 3 and plain.endswith("ies") and not plain.endswith(("eies", "aies")):
        return plain[:-3] + "y"
    if len(plain) > 3 and plain.endswith("es") and not plain.endswith(("aes", "ees", "oes")):
        return plain[:-1]
    if len(plain) > 3 and plain.endswith("s") and not plain.endswith(("us", "ss")):
        return plain[:-1]
    return plain


@lru_cache(_TEXTS_KEPT)
def words_of(text: str) -> frozenset[str]:
    """Every word of a text, in normal form. Kept: articles are compared with every question."""
    return frozenset(normal_form(word) for word in _WORD.findall(text))


def content_words(text: str) -> frozenset[str]:
    """The words of a text that say what it is about; may be empty."""
    return frozenset(
        normal_form(word) for word in _WORD.findall(text) if word.casefold() not in STOP_WORDS
    )
