"""Who is answered by which version.

A customer's place on a line from 0 to 100 is a hash of the experiment's salt and the customer.
Below the candidate's share lies its arm. So a customer stays in an arm for as long as the
experiment lasts, a growing share only adds customers, and two experiments divide them independently
(as in Kohavi et al., "Trustworthy Online Controlled Experiments", 2020, chapter 12).
"""

import hashlib

from serving.types import Arm, Choice
from serving.versions.lineup import Lineup

_HASH_BYTES = 8
_PERCENT: float = 100.0 / 2 ** (8 * _HASH_BYTES)


def place_of(customer: str, salt: str) -> float:
    """The customer's place from 0 (included) to 100 (not included), in percent."""
    digest = hashlib.blake2b(customer.encode(), digest_size=_HASH_BYTES, key=salt.encode()).digest()
    return int.from_bytes(digest, "big") * _PERCENT


def choose(lineup: Lineup, customer: str) -> Choice | None:
    """The version that answers a customer; None while nothing is live.

    Args:
        lineup: the model's.
        customer: whatever stays the same for somebody: a customer's id, else a session's.
    """
    if lineup.live is None:
        return None
    share = lineup.canary_percent
    # A shadow's customers need no place on the line.
    if lineup.candidate is not None and share and place_of(customer, lineup.salt) < share:
        return Choice(lineup.candidate, Arm.CANARY)
    return Choice(lineup.live, Arm.LIVE)
