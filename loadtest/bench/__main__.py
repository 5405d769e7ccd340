"""`python loadtest/bench ...` from anywhere: the repository's root instead of this folder first."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2])

from loadtest.bench.cli import main  # noqa: E402 - the path has to stand first

if __name__ == "__main__":
    main()
