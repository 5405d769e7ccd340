"""Strings that mean nothing: fists on keyboards, cats, and broken encodings."""

import numpy as np

_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm", "qwertz", "yxcvbnm")
_CONSONANTS = "bcdfghjklmnpqrstvwxz"
_SIGNS = "!?#%&*/-_+=~^;"
_BROKEN = "ÃÂ©±¿½ïµ¤¶"


def make_gibberish(rng: np.random.Generator) -> str:
    """A string of one to four words without meaning, at least two characters long."""
    words = (_mash, _consonants, _repeated, _signs, _broken)
    kind = int(rng.choice(len(words), p=(0.45, 0.25, 0.15, 0.1, 0.05)))
    return " ".join(words[kind](rng) for _ in range(int(rng.integers(1, 5))))


def _mash(rng: np.random.Generator) -> str:
    """Neighbouring keys, e.g. "asdf" or "jkljkl"."""
    row = _ROWS[int(rng.integers(len(_ROWS)))]
    length = int(rng.integers(3, 6))
    start = int(rng.integers(max(len(row) - length, 0) + 1))
    return row[start : start + length] * int(rng.integers(1, 3))


def _consonants(rng: np.random.Generator) -> str:
    return _random(_CONSONANTS, int(rng.integers(4, 10)), rng)


def _repeated(rng: np.random.Generator) -> str:
    return _random("abcdefghijklmnopqrstuvwxyz", 1, rng) * int(rng.integers(3, 12))


def _signs(rng: np.random.Generator) -> str:
    return _random(_SIGNS, int(rng.integers(2, 7)), rng)


def _broken(rng: np.random.Generator) -> str:
    return _random(_BROKEN, int(rng.integers(3, 8)), rng)


def _random(alphabet: str, length: int, rng: np.random.Generator) -> str:
    return "".join(alphabet[i] for i in rng.integers(len(alphabet), size=length).tolist())
