"""What the served model says about some of the texts, each one alone: a fast wrong answer shows."""

from collections.abc import Sequence

import numpy as np

from loadtest.bench.artifacts import UnderstandingFiles
from loadtest.bench.limit import open_session
from serving.models.tokenizer import Tokenizer

# Every so many-eth text is checked.
STRIDE = 8
# Only what is clear: the rounding of int8 depends on a batch's other rows, and with it every logit.
CLEAR_LOGITS = 1.5
INTENT_OUTPUT = "intent_logits"


def intent_indexes(
    files: UnderstandingFiles, texts: Sequence[str], threads: int, stride: int = STRIDE
) -> dict[int, int]:
    """Index of the most likely intent where it is clear, by index of the text."""
    tokenizer = Tokenizer.from_file(files.tokenizer, files.max_length)
    session = open_session(files.artifacts[files.served], threads)
    found = {}
    for index in range(0, len(texts), stride):
        tokens = tokenizer.encode([texts[index]])
        (logits,) = session.run([INTENT_OUTPUT], tokens.inputs())
        first, second = np.sort(logits[0])[:-3:-1]
        if first - second >= CLEAR_LOGITS:
            found[index] = int(logits[0].argmax())
    return found
