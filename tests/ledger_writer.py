"""Appends to a ledger until it is killed or done, and tells on stdout what was acknowledged.

python -m tests.ledger_writer <folder> <name> <first> <entries> [quiet]

Each entry is told by its number once it is appended, with `quiet` only the last one.
"""

import os
import sys
from pathlib import Path

from serving.ledger.writer import Ledger
from tests.ledger_entries import NOT_READY, UNDERSTANDING_3, UNDERSTANDING_4, entry, settings


def main() -> None:
    folder, name, first, entries = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
    ledger = Ledger(settings(folder), "{}")
    for number in range(first, first + int(entries)):
        # Of different lengths and with different setups.
        degraded = (NOT_READY,) * (number % 5)
        models = (UNDERSTANDING_3, UNDERSTANDING_4)[: number % 3]
        ledger.append(entry(number, name=name, models=models, degraded=degraded))
        if "quiet" not in sys.argv:
            os.write(1, f"{number}\n".encode())
    ledger.close()
    os.write(1, b"done\n")


if __name__ == "__main__":
    main()
