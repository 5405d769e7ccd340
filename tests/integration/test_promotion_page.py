"""Every command of docs/promotion.md, in its order: from a checkpoint to live and back."""

import asyncio
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from model_build.artifacts import SERVED_FILE, SOURCE_FILE
from model_build.tune.requests import read_texts
from serving.cli.local_stack import local_stack
from serving.models.manifest import ModelManifest
from serving.models.repository import ModelRepository
from serving.recording.reader import Recording
from tests.checkpoints import copy_beyond_int8
from tests.integration.conftest import ROOT, BuiltModels
from tests.pages import Command, commands_of
from tests.promotable import MODEL, Promotable
from tests.recordings import record, writer
from tests.waiting import until

pytestmark = pytest.mark.integration

PAGE = ROOT / "docs" / "promotion.md"
# The one that the page says is live.
LIVE = 3
# So many that the gate of replay can be sure.
RECORDED = 800
TRACE_ID = re.compile(r"\b[0-9a-f]{32}\b")

# Commands that others run, and who.
ELSEWHERE = {
    "cartwright models build --checkpoints var/checkpoints": "the fixture `models`, quickly",
    "make serve": "the fixture `walk`; it does not end",
    'cartwright models promote understanding 4 --auto --reason "better on returns"': (
        "test_stack_rollout.py, with customers"
    ),
    "make promote-drill": "test_the_drill_in_short",
}
# Options that a command gets besides, and why.
OPTIONS = {
    # The samples of the quick models are other ones than those of full ones.
    "cartwright models publish": ("--profile", "quick"),
    # A machine that others keep busy must not decide, nor for four minutes.
    "cartwright models gate": ("--minutes", "0.5", "--slower", "0.95"),
}
# What a command has to print, as far as it does not exit with 1 otherwise.
SHOWS = {
    "python docs/examples/finetune_understanding.py": r"loss after: +0\.",
    "cartwright models publish": r"var/finetuned: published as understanding 4 ",
    "cartwright models show": r"(?s)\b3 .*live.*\b4 .*published",
    "cartwright models diff": r"file model\.onnx",
    "cartwright models gate": r"(?s)parity: passed.*quality against 3: passed.*latency .*: passed",
    "cartwright replay": r"replay against 3: passed: Of 800 recorded requests",
    "cartwright models promote understanding 4": r"\b4 .*live",
    "cartwright models promote understanding 3": r"\b3 .*live",
    "cartwright ask": TRACE_ID.pattern,
    "cartwright models traffic": r"\b4 +live +[1-9]",
    "cartwright ledger show": r"understanding +4",
    "cartwright ledger what-if": r"version 4, then +version 3",
    "cartwright models rollback": r"\b3 .*live",
    "cartwright models history": r"(?s)rollback.*complaints about sizes.*promote 4",
    "cartwright models shadow": r"\b4 .*shadow",
    "cartwright models canary": r"\b4 .*canary",
    "cartwright models release": r"\b3 .*staged",
}


@dataclass
class Walk:
    """Somebody who reads the page and types what it says."""

    promotable: Promotable
    environment: dict[str, str]
    # The trace id of the last reply.
    request: str = ""

    def type(self, command: Command) -> str:
        """Runs a command; returns what it printed."""
        words = shlex.split(command.text.replace("REQUEST", self.request))
        if "what-if" in words:
            # The recorder writes behind the reply.
            folder = self.promotable.stack.folder / "state" / "recording"
            asyncio.run(
                until(lambda: self.request in {r.trace_id for r in Recording(folder).records()})
            )
        more = [o for start, o in OPTIONS.items() if command.text.startswith(start)]
        done = subprocess.run(
            [*program(words[0]), *words[1:], *(word for options in more for word in options)],
            cwd=self.promotable.stack.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{PAGE.name}:{command.line}: {done.stdout}{done.stderr}"
        found = TRACE_ID.search(done.stdout)
        if words[1] == "ask" and found:
            self.request = found[0]
        return done.stdout


def program(name: str) -> list[str]:
    """What a word at the beginning of a command stands for."""
    return {
        "cartwright": [sys.executable, "-m", "serving.cli.main"],
        "python": [sys.executable],
    }[name]


@pytest.fixture(scope="module")
def walk(models: BuiltModels, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    """A stack in a folder with what the page expects there, and default gates."""
    folder = tmp_path_factory.mktemp("page")
    repository = folder / "model_repository"
    publish_newest(models, repository)
    (folder / "docs").symlink_to(ROOT / "docs")
    (folder / "var").mkdir()
    copy_beyond_int8(models.checkpoints / MODEL, folder / "var" / "checkpoints" / MODEL)
    record_requests(models, folder / "state" / "recording")
    overrides = {
        **models.environment(),
        "CARTWRIGHT_TRITON__MODEL_REPOSITORY": str(repository),
        "CARTWRIGHT_STORES__FOLDER": str(folder / "state"),
        "CARTWRIGHT_TRITON__LOG_FOLDER": str(folder / "log"),
        "CARTWRIGHT_SERVER__RUN_FILE": str(folder / "serve.json"),
    }
    # The program finds the project from any folder, installed or not.
    path = os.pathsep.join([str(ROOT), str(ROOT / "build"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, **overrides, "PYTHONPATH": path}
    with local_stack(overrides, folder) as stack:
        yield Walk(Promotable(stack, repository, folder / "serve.json"), environment)


def publish_newest(models: BuiltModels, repository: Path) -> None:
    """The newest version of each model; of the one that is promoted, as version 3."""
    known = ModelRepository(models.repository)
    for config in models.repository.glob("*/config.pbtxt"):
        newest = known.latest(config.parent.name)
        number = LIVE if config.parent.name == MODEL else newest.manifest.version
        target = repository / config.parent.name / str(number)
        shutil.copytree(newest.folder, target, copy_function=os.link)
        shutil.copy(config, target.parent)
        # A file of its own: the other folder keeps its number.
        (target / "manifest.json").unlink()
        manifest = newest.manifest.model_copy(update={"version": number})
        if config.parent.name == MODEL and manifest.served_artifact != "onnx":
            manifest = as_fp32(manifest, target)
        manifest.write(target)


def as_fp32(manifest: ModelManifest, folder: Path) -> ModelManifest:
    """The version by its fp32 export: what the quick build has made of int8 is luck."""
    (folder / SOURCE_FILE).replace(folder / SERVED_FILE)
    artifacts = tuple(
        artifact.model_copy(update={"path": SERVED_FILE}) if artifact.kind == "onnx" else artifact
        for artifact in manifest.artifacts
        if artifact.kind != "onnx-int8"
    )
    return manifest.model_copy(update={"served_artifact": "onnx", "artifacts": artifacts})


def record_requests(models: BuiltModels, folder: Path) -> None:
    """As if customers had asked some hours long."""
    texts = read_texts(models.shop, None)
    segments = writer(folder)
    for number in range(RECORDED):
        text = texts[number % len(texts)]
        line = record(text, version=LIVE, arrived_at_ms=1_700_000_000_000 + number).line()
        segments.append(line)
    segments.close()


def test_a_newcomer_gets_from_a_checkpoint_to_live_and_back(walk: Walk) -> None:
    """Every command, as it stands on the page: one that is added there is run here."""
    typed = []
    for command in commands_of(PAGE):
        if command.text in ELSEWHERE:
            continue
        output = walk.type(command)
        typed.append(command.text)
        wanted = [shown for start, shown in SHOWS.items() if command.text.startswith(start)]
        assert wanted, f"{PAGE.name}:{command.line}: what does it have to print?"
        for pattern in wanted:
            assert re.search(pattern, output), f"{PAGE.name}:{command.line}: {output}"
    for start in (*SHOWS, *OPTIONS):
        assert any(text.startswith(start) for text in typed), f"{start}: is not on the page"
    written = {command.text for command in commands_of(PAGE)}
    assert ELSEWHERE.keys() <= written
    published = ModelManifest.read(walk.promotable.repository / MODEL / "4")
    assert published.config["held_out_unseen"] is True
    (publish,) = [c for c in commands_of(PAGE) if c.text.startswith("cartwright models publish")]
    assert "var/finetuned: here already as understanding 4 (onnx)" in walk.type(publish)


@pytest.mark.long
def test_the_drill_in_short(models: BuiltModels, tmp_path: Path) -> None:
    result = tmp_path / "drill.json"
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "loadtest.drill", "--rounds", "1", "--share", "0.1"),
            *("--quiet-s", "2", "--json", str(result)),
            *("--repository", str(models.repository), "--shop", str(models.shop)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.is_file(), ran.stdout + ran.stderr
    drill = json.loads(result.read_text())
    assert [step["action"] for step in drill["rounds"][0]["switches"]] == ["promote", "rollback"]
    # So few requests say nothing about p99, nor is this machine at rest.
    for found in drill["complaints"]:
        assert found.startswith(("p99 ", "only "))
    assert drill["verdict"]["requests"] > 50
    assert f"{drill['verdict']['requests']}" in ran.stdout
