"""Build keys change with what a model is made of, and with nothing else."""

from pathlib import Path

import pytest

from model_build.build import build_key
from model_build.digests import code_digest, key_of
from model_build.materials import Materials
from model_build.profiles import PROFILES
from model_build.recipes import RECIPES

QUICK = PROFILES["quick"]
BY_MODEL = {recipe.model: recipe for recipe in RECIPES}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A small package in place of `model_build`: train imports parts and more."""
    files = {
        "__init__.py": "",
        "train.py": '"""x"""\nfrom model_build.parts import part\nfrom model_build import more\n',
        "parts/__init__.py": "from model_build.parts.part import part\n",
        "parts/part.py": "def part():\n    return 1\n",
        "more.py": "import numpy\n",
        "unrelated.py": "x = 1\n",
        "progress.py": "bar = 1\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return tmp_path


def digest_of(package: Path, module: str) -> str:
    return code_digest([module], roots={"model_build": package})


def test_code_that_a_model_is_made_by_counts_however_deep(package: Path) -> None:
    before = digest_of(package, "model_build.train")
    (package / "parts" / "part.py").write_text("def part():\n    return 2\n")
    assert digest_of(package, "model_build.train") != before
    middle = digest_of(package, "model_build.train")
    (package / "more.py").write_text("import numpy\ny = 0\n")
    assert digest_of(package, "model_build.train") != middle


def test_comments_docstrings_and_layout_do_not_count(package: Path) -> None:
    before = digest_of(package, "model_build.train")
    (package / "parts" / "part.py").write_text(
        '"""Now described."""\n\n\ndef part():\n    """One."""\n    # why\n    return (1)\n'
    )
    assert digest_of(package, "model_build.train") == before


def test_what_is_not_imported_does_not_count(package: Path) -> None:
    before = digest_of(package, "model_build.train")
    (package / "unrelated.py").write_text("x = 2\n")
    assert digest_of(package, "model_build.train") == before
    (package / "more.py").write_text("import numpy\nfrom model_build.progress import bar\n")
    middle = digest_of(package, "model_build.train")
    (package / "progress.py").write_text("bar = 2\n")
    assert digest_of(package, "model_build.train") == middle


def test_a_module_that_is_not_there_is_named(package: Path) -> None:
    with pytest.raises(ValueError, match=r"no module model_build\.nothing"):
        digest_of(package, "model_build.nothing")


def keys(materials: Materials) -> dict[str, str]:
    found: dict[str, str] = {}
    for recipe in RECIPES:
        found[recipe.model] = build_key(recipe, materials, "cpu", found)
    return found


def test_the_same_build_has_the_same_keys() -> None:
    assert keys(Materials(1, QUICK)) == keys(Materials(1, QUICK))
    assert len(set(keys(Materials(1, QUICK)).values())) == len(RECIPES)


def test_seed_and_profile_change_the_keys_of_what_they_change() -> None:
    one, other_seed = keys(Materials(1, QUICK)), keys(Materials(2, QUICK))
    assert all(one[model] != other_seed[model] for model in one)
    full = keys(Materials(1, PROFILES["full"]))
    assert {model for model in one if one[model] == full[model]} == {"encoder"}


def test_data_changes_the_models_that_learn_from_it(tmp_path: Path) -> None:
    for name in ("bitext/bitext_8k.csv.gz", "bitext/bitext_20k.csv.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"a")
    retail = tmp_path / "online_retail" / "online_retail.csv.gz"
    retail.parent.mkdir()
    retail.write_bytes(b"a")
    synthetic, first = keys(Materials(1, QUICK)), keys(Materials(1, QUICK, tmp_path))
    same = {"encoder", "decision"}
    assert {model for model in first if synthetic[model] == first[model]} == same
    retail.write_bytes(b"b")
    second = keys(Materials(1, QUICK, tmp_path))
    assert {model for model in first if second[model] == first[model]} == same


def test_a_model_changes_with_the_model_that_it_is_made_with() -> None:
    materials = Materials(1, QUICK)
    ranker = BY_MODEL["ranker"]
    one = build_key(ranker, materials, "cpu", {"candidates": "a"})
    assert build_key(ranker, materials, "cpu", {"candidates": "b"}) != one


def test_the_target_changes_the_keys() -> None:
    materials = Materials(1, QUICK)
    encoder = BY_MODEL["encoder"]
    assert build_key(encoder, materials, "gpu", {}) != build_key(encoder, materials, "cpu", {})


def test_a_key_does_not_depend_on_the_order_of_its_parts() -> None:
    assert key_of({"a": 1, "b": [2]}) == key_of({"b": [2], "a": 1})
    assert key_of({"a": 1, "b": [2]}) != key_of({"a": [2], "b": 1})
