"""What customers call the products of a shop: "stoneware mug", "running shoes"."""

import re
from collections import Counter

import numpy as np

from model_build.data.tables import read_table
from model_build.data.types import Shop

_WORD = re.compile(r"[^\W_][\w'’-]*")
# A brand stands before the name so often.
_BRAND_SHARE = 0.06
# A name's last word ends at least so many titles of a shop that has many.
_LEAST_ENDINGS = 3
_SIZE_WORDS = frozenset({"small", "large", "medium", "mini", "round", "square", "size", "assorted"})
_NOT_IN_NAMES = frozenset(
    {"of", "with", "and", "for", "in", "the", "to", "on", "by", "or", "w", "s", "a", "at", "from"}
)
_VAGUE = frozenset({"other", "weights", "yoga", "hiking", "camping", "baking", "hair", "bathroom"})


class ProductNames:
    """Noun phrases for products, from the titles and the leaf categories of a shop."""

    def __init__(self, shop: Shop) -> None:
        words = read_table("phrases/words.toml")
        self._mass_nouns = frozenset(words["mass_nouns"])
        self._pairs = frozenset(words["pairs"])
        names = _names(shop, frozenset(words["colours"]))
        singular = {self.singular(name) for name in names}
        self._singular = sorted(n for n in singular if not self._is_plural(n)) or ["product"]
        self._plural = sorted({self.plural(name) for name in names})
        self._brands = sorted({p.brand for p in shop.products if p.brand})

    def any(self, rng: np.random.Generator) -> str:
        """A name in either number."""
        return self.one(rng) if rng.random() < 0.65 else self.many(rng)

    def one(self, rng: np.random.Generator) -> str:
        """A name in the singular."""
        return self._with_brand(self._singular, rng)

    def many(self, rng: np.random.Generator) -> str:
        """A name in the plural, as far as it has one."""
        return self._with_brand(self._plural, rng)

    def _with_brand(self, names: list[str], rng: np.random.Generator) -> str:
        name = names[int(rng.integers(len(names)))]
        if self._brands and rng.random() < _BRAND_SHARE:
            return f"{self._brands[int(rng.integers(len(self._brands)))]} {name}"
        return name

    def article(self, name: str) -> str:
        """What is said before the name for one of it: "a ", "an " or "some "."""
        if self._is_mass(name) or self._is_plural(name):
            return "some "
        return "an " if name[0].lower() in "aeio" else "a "

    def singular(self, name: str) -> str:
        """The name for one piece; names that have no singular stay as they are."""
        last = name.split()[-1].lower()
        if not self._is_plural(name) or last in self._pairs:
            return name
        if last.endswith("knives"):
            return name[:-3] + "fe"
        if last.endswith("ies") and len(last) > 4:
            return name[:-3] + "y"
        if last.endswith(("sses", "xes", "ches", "shes")):
            return name[:-2]
        return name[:-1]

    def plural(self, name: str) -> str:
        """The name for several pieces; what cannot be counted stays as it is."""
        last = name.split()[-1].lower()
        if self._is_plural(name) or self._is_mass(name):
            return name
        if last.endswith("knife"):
            return name[:-2] + "ves"
        if last.endswith(("s", "x", "ch", "sh")):
            return name + "es"
        if last.endswith("y") and last[-2] not in "aeiou":
            return name[:-1] + "ies"
        return name + "s"

    def _is_plural(self, name: str) -> bool:
        last = name.split()[-1].lower()
        return last in self._pairs or (
            last.endswith("s") and not last.endswith(("ss", "us", "is", "press"))
        )

    def _is_mass(self, name: str) -> bool:
        return name.split()[-1].lower() in self._mass_nouns


def _names(shop: Shop, colours: frozenset[str]) -> set[str]:
    """The leaf categories, and the last two and three words of each title.

    Brand, pack, colours and sizes are no part of a name, and its last word must end several titles:
    else it is hardly what the thing is called.
    """
    # Of "light blue" only "blue": a "bike light" is a thing.
    one_word_colours = {colour.split()[-1] for colour in colours}
    titles: list[list[str]] = []
    for product in shop.products:
        title = product.title.removeprefix(product.brand).split(",")[0].lower()
        words = _WORD.findall(title)
        while words and (words[-1] in _SIZE_WORDS or words[-1] in one_word_colours - {"cream"}):
            words.pop()
        # Here the last word is the thing itself, even "cream".
        words = [w for w in words[:-1] if w not in one_word_colours] + words[-1:]
        if words and not any(w[0].isdigit() or w in _NOT_IN_NAMES for w in words):
            titles.append(words)
    usual_endings = Counter(words[-1] for words in titles)
    least = _LEAST_ENDINGS if len(titles) >= 100 else 1
    names = {p.category.split("/")[-1].replace("-", " ") for p in shop.products}
    for words in titles:
        if usual_endings[words[-1]] >= least:
            names |= {" ".join(words[-count:]) for count in (2, 3) if len(words) >= count}
    # A shop without a usable title still sells something.
    return {n for n in names if len(n) > 3 and n not in _VAGUE} or {"product"}
