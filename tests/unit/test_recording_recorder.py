"""The recorder: what it takes, and that nothing unmasked leaves it."""

import gzip
import json
import logging
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from serving.errors import StartupError
from serving.recording.key import masking_key
from serving.recording.masking import Masked, Masker
from serving.recording.reader import Recording
from serving.recording.recorder import FOLDER, KEY_FILE, Recorder, open_recorder
from serving.recording.records import Record
from serving.recording.segments import segments_in
from serving.settings import RecordingSettings, StoreSettings
from serving.types import Sentiment, Slot, Understanding
from tests.recordings import KEY, answered, recorder
from tests.unit.test_recording_masking import HARD
from tests.waiting import until

ROOT = Path(__file__).parents[2]
UNDERSTOOD = Understanding(
    intent="track_order",
    intent_confidence=0.87654,
    sentiment=Sentiment.NEGATIVE,
    out_of_scope_probability=0.01234,
)


def offer(target: Recorder, text: str, version: int | None = 3) -> None:
    target.offer("Understand", "understanding", text, UNDERSTOOD, "live", answered(version))


def records(folder: Path) -> list[Record]:
    return list(Recording(folder).records())


def test_a_request_is_recorded_with_what_answered_it(tmp_path: Path) -> None:
    target = recorder(tmp_path)
    target.start()
    text = "i am anna schmidt's sister, my name is Eva Schmidt, where is my blue order 12345"
    slots = tuple(
        Slot(name=name, value=value, start_char=text.index(value), end_char=text.index(value) + n)
        for name, value, n in (("person", "Eva Schmidt", 11), ("order_number", "12345", 5))
    )
    understood = Understanding(
        intent="track_order",
        intent_confidence=0.87654,
        # One that was carried over from an earlier turn has no span, and its value is not masked.
        slots=(*slots, Slot(name="size", value="+49 170 1234567")),
        sentiment=Sentiment.NEGATIVE,
        out_of_scope_probability=0.01234,
    )
    context = answered(version=4, trace_id="0af7651916cd43dd8448eb211c80319c")
    target.offer("Converse", "understanding", text, understood, "canary", context)
    target.close()
    (found,) = records(tmp_path)
    assert (found.method, found.model, found.version, found.arm) == (
        *("Converse", "understanding", 4, "canary"),
    )
    assert found.trace_id == "0af7651916cd43dd8448eb211c80319c"
    assert found.text.startswith("i am anna schmidt's sister, my name is ")
    answer = found.answer
    assert answer is not None
    assert (answer.intent, answer.intent_confidence, answer.sentiment) == (
        *("track_order", 0.8765, "negative"),
    )
    assert answer.out_of_scope_probability == 0.0123
    person, order, size = answer.slots
    # The same stand-ins as in the text, though a name alone is not known for one.
    assert person.value in found.text
    assert person.value != "Eva Schmidt"
    assert found.text.endswith(f"where is my blue order {order.value}")
    assert order.value != "12345"
    assert (size.name, size.value) == ("size", "")


async def test_the_arrival_is_the_request_s_and_not_the_record_s(tmp_path: Path) -> None:
    target = recorder(tmp_path)
    context = answered()
    context.started_s -= 12.0
    target.offer("Understand", "understanding", "late", UNDERSTOOD, "live", context)
    target.start()
    await until(lambda: target.stats.written == 1)
    (found,) = records(tmp_path)
    assert time.time() * 1000 - found.arrived_at_ms == pytest.approx(12_000, abs=3_000)
    target.close()


def test_models_without_a_readable_answer_are_recorded_too(tmp_path: Path) -> None:
    target = recorder(tmp_path)
    context = answered()
    context.model_versions["encoder"] = 2
    target.start()
    target.offer("Answer", "encoder", "do you ship", None, "live", context)
    target.close()
    (found,) = records(tmp_path)
    assert (found.model, found.version, found.answer) == ("encoder", 2, None)


@pytest.mark.parametrize(("text", "secret", "kind"), HARD, ids=[secret for _, secret, _ in HARD])
def test_nothing_unmasked_reaches_the_disk(
    tmp_path: Path, text: str, secret: str, kind: str
) -> None:
    target = recorder(tmp_path, Masker(KEY, known_names=["Zuzana", "Li Wei"]))
    target.start()
    start = text.index(secret)
    slots = (
        Slot(name="whole", value=secret, start_char=start, end_char=start + len(secret)),
        Slot(name="half", value=secret[1:], start_char=start + 1, end_char=start + len(secret)),
        Slot(name="more", value=text, start_char=0, end_char=len(text)),
    )
    understood = Understanding(intent="track_order", intent_confidence=0.9, slots=slots)
    target.offer("Understand", "understanding", text, understood, "live", answered())
    target.close()
    (segment,) = segments_in(tmp_path)
    (line,) = gzip.decompress(segment.path.read_bytes()).splitlines()
    document = json.loads(line)
    # Digits of a clock may be anybody's order number.
    assert document.pop("arrived_at_ms") > 1_700_000_000_000
    on_disk = json.dumps(document, ensure_ascii=False)
    assert len(document["answer"]["slots"]) == 3
    assert secret.casefold() not in on_disk.casefold()
    assert _plain(secret) not in _plain(on_disk)


def _plain(text: str) -> str:
    """Letters and digits alone: however it is written."""
    return "".join(c for c in text.casefold() if c.isalnum())


def test_stand_ins_are_the_same_in_all_replicas_and_after_a_restart(tmp_path: Path) -> None:
    stores = StoreSettings(folder=tmp_path / "state")
    for _ in range(2):
        replicas = [open_recorder(RecordingSettings(), stores) for _ in range(2)]
        for replica in replicas:
            assert replica is not None
            offer(replica, "where is order 12345")
        for replica in replicas:
            assert replica is not None
            replica.close()
    found = records(stores.folder / FOLDER)
    assert len(found) == 4
    assert len({one.text for one in found}) == 1
    assert (stores.folder / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert not (stores.folder / FOLDER / KEY_FILE).exists()


def test_a_broken_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "recording.key"
    path.write_bytes(b"short")
    with pytest.raises(StartupError, match=r"recording\.key: must have 32 bytes, has 5"):
        masking_key(path)


def test_processes_that_start_together_agree_on_the_key(tmp_path: Path) -> None:
    keys: list[bytes] = []
    starts = threading.Barrier(8)

    def start() -> None:
        starts.wait()
        keys.append(masking_key(tmp_path / "new" / KEY_FILE))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 8
    assert len(set(keys)) == 1
    assert [path.name for path in (tmp_path / "new").iterdir()] == [KEY_FILE]


def test_switched_off_there_is_no_recorder(tmp_path: Path) -> None:
    stores = StoreSettings(folder=tmp_path / "state")
    assert open_recorder(RecordingSettings(enabled=False), stores) is None
    assert not stores.folder.exists()


def test_the_settings_rate_is_kept(tmp_path: Path) -> None:
    stores = StoreSettings(folder=tmp_path)
    target = open_recorder(RecordingSettings(per_second=3.0), stores)
    assert target is not None
    began_s = time.monotonic()
    for number in range(500):
        offer(target, f"text {number}")
    took_s = time.monotonic() - began_s
    target.close()
    assert target.stats.offered == 500
    assert target.stats.written == len(records(tmp_path / FOLDER))
    # The bucket's three, and what came in while five hundred were offered.
    assert 3 <= target.stats.written <= 4 + 3 * took_s


def test_what_does_not_fit_into_the_queue_is_dropped_and_counted(tmp_path: Path) -> None:
    target = recorder(tmp_path, max_waiting=5)
    for number in range(12):
        offer(target, f"text {number}")
    assert (target.stats.offered, target.stats.dropped) == (12, 7)
    target.start()
    target.close()
    assert [one.text for one in records(tmp_path)] == [f"text {number}" for number in range(5)]
    assert target.stats.written == 5


def test_a_long_text_is_left_out_whole(tmp_path: Path) -> None:
    target = recorder(tmp_path, max_text_chars=10)
    target.start()
    offer(target, "a" * 10)
    offer(target, "a" * 11)
    target.close()
    assert [one.text for one in records(tmp_path)] == ["a" * 10]
    assert (target.stats.too_long, target.stats.written) == (1, 1)


def test_a_request_that_no_version_answered_is_not_recorded(tmp_path: Path) -> None:
    target = recorder(tmp_path)
    target.start()
    offer(target, "the model was away", version=None)
    target.close()
    assert records(tmp_path) == []
    assert target.stats.offered == 1


async def test_records_are_soon_on_disk(tmp_path: Path) -> None:
    target = recorder(tmp_path)
    target.start()
    for number in range(50):
        offer(target, f"text {number}")
    await until(lambda: len(records(tmp_path)) == 50, timeout_s=2.0)
    target.close()


async def test_a_disk_that_cannot_be_written_is_counted_and_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocker = tmp_path / "blocked"
    blocker.write_text("a file where the folder should be")
    target = recorder(blocker / "recording")
    target.start()
    with caplog.at_level(logging.INFO, logger="serving.recording.recorder"):
        offer(target, "where is it")
        await until(lambda: target.stats.disk_errors == 1)
        # More waits meanwhile, within the bound of the queue.
        offer(target, "and where is this")
        blocker.unlink()
        target.close()
    said = [message for message in caplog.messages if message.startswith("recording: ")]
    assert len(said) == 2
    assert said[0].startswith("recording: cannot be written, tried again from time to time: ")
    assert said[1] == "recording: can be written again"
    assert [one.text for one in records(blocker / "recording")] == [
        *("where is it", "and where is this"),
    ]
    assert (target.stats.written, target.stats.lost) == (2, 0)


def test_what_a_full_disk_never_took_is_lost_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocker = tmp_path / "blocked"
    blocker.write_text("a file where the folder should be")
    target = recorder(blocker / "recording")
    offer(target, "where is it")
    target.start()
    target.close()
    assert (target.stats.written, target.stats.lost) == (0, 1)
    assert target.stats.disk_errors >= 1
    assert len([m for m in caplog.messages if "cannot be written" in m]) == 1


def test_a_text_that_cannot_be_masked_is_left_out_and_told_without_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Brittle(Masker):
        """Fails as no masker should."""

        def mask(self, text: str) -> Masked:
            if "secret" in text:
                raise RuntimeError(f"cannot take {text}")
            return super().mask(text)

    target = recorder(tmp_path, Brittle(KEY))
    target.start()
    offer(target, "secret")
    offer(target, "fine")
    target.close()
    assert [one.text for one in records(tmp_path)] == ["fine"]
    assert (target.stats.unmaskable, target.stats.written) == (1, 1)
    assert "RuntimeError" in caplog.text
    assert "secret" not in caplog.text


def in_letters(number: int) -> str:
    """A number of three digits would be masked."""
    return str(number).translate(str.maketrans("0123456789", "abcdefghij"))


# Offers without end, and says how many records are on disk.
_KILLED = """
import sys, time
from pathlib import Path
from tests.recordings import recorder
from tests.unit.test_recording_recorder import in_letters, offer

target = recorder(Path(sys.argv[1]))
target.start()
number = 0
while True:
    offer(target, in_letters(number))
    number += 1
    time.sleep(0.005)
    print(target.stats.written, flush=True)
"""


def test_a_killed_process_leaves_what_it_had_flushed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _KILLED, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        written = 0
        for said in process.stdout:
            written = int(said)
            if written >= 100:
                break
        process.send_signal(signal.SIGKILL)
        process.wait()
    recording = Recording(tmp_path)
    found = [one.text for one in recording.records()]
    assert len(found) >= written >= 100
    assert found == [in_letters(number) for number in range(len(found))]
    assert recording.problems == []
