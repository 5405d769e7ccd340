"""The same seed and files give the same data in every process, whatever its hash seed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import ROOT

pytestmark = [pytest.mark.integration, pytest.mark.untimed]

PUBLIC_DATA = ROOT.parent / "shared" / "data"

_DIGESTS = """
import sys
from pathlib import Path
from model_build.data.digest import shop_digest, utterances_digest
from model_build.materials import Materials
from model_build.profiles import PROFILES

folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None
materials = Materials(seed=3, profile=PROFILES["quick"], data_folder=folder)
print(shop_digest(materials.shop))
print(utterances_digest(materials.train_utterances))
for utterances in materials.held_out_utterances.values():
    print(utterances_digest(utterances))
"""


def digests(hash_seed: int, *folder: Path) -> list[str]:
    ran = subprocess.run(
        [sys.executable, "-c", _DIGESTS, *map(str, folder)],
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.split()


def test_synthetic_data() -> None:
    assert digests(1) == digests(2)


@pytest.mark.data
@pytest.mark.skipif(not PUBLIC_DATA.is_dir(), reason=f"no public data sets at {PUBLIC_DATA}")
def test_public_data() -> None:
    assert digests(1, PUBLIC_DATA) == digests(2, PUBLIC_DATA)
