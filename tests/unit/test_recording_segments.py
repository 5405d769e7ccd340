"""Segments: rotated, bounded, readable whatever happened to them."""

import gzip
import json
import random
import string
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from serving.recording.reader import Recording
from serving.recording.segments import segments_in
from tests.recordings import record, writer

ROOT = Path(__file__).parents[2]


def line(number: int, letters: int = 0) -> bytes:
    """A record that says its number, and some letters that hardly compress."""
    rng = random.Random(number)
    noise = "".join(rng.choice(string.ascii_letters) for _ in range(letters))
    return record(f"{number} {noise}", arrived_at_ms=1_900_000_000_000 + number).line()


def numbers(folder: Path) -> list[int]:
    """Of the records that can be read."""
    return [int(one.text.split()[0]) for one in Recording(folder).records()]


def test_what_is_flushed_can_be_read_while_the_segment_is_open(tmp_path: Path) -> None:
    segments = writer(tmp_path / "made" / "for it")
    segments.append(line(1))
    segments.append(line(2))
    assert not (tmp_path / "made").exists()
    segments.flush()
    assert numbers(tmp_path / "made" / "for it") == [1, 2]
    segments.append(line(3))
    assert (segments.pending, segments.written) == (1, 2)
    segments.flush()
    assert numbers(tmp_path / "made" / "for it") == [1, 2, 3]
    segments.close()


def test_a_closed_segment_is_a_whole_gzip_file_that_others_cannot_read(tmp_path: Path) -> None:
    segments = writer(tmp_path)
    segments.append(line(1))
    segments.close()
    (segment,) = segments_in(tmp_path)
    (text,) = gzip.decompress(segment.path.read_bytes()).splitlines()
    assert json.loads(text)["text"] == "1 "
    assert segment.path.stat().st_mode & 0o777 == 0o600


def test_nothing_to_write_makes_no_file(tmp_path: Path) -> None:
    segments = writer(tmp_path)
    segments.flush()
    segments.close()
    assert segments_in(tmp_path) == []


def test_a_segment_that_is_full_is_closed(tmp_path: Path) -> None:
    segments = writer(tmp_path, segment_max_bytes=1000)
    for number in range(40):
        segments.append(line(number, 100))
        segments.flush()
    segments.close()
    found = segments_in(tmp_path)
    assert len(found) > 2
    # Closed by the flush that made it full.
    assert all(segment.size_bytes < 1300 for segment in found)
    assert sorted(numbers(tmp_path)) == list(range(40))
    for segment in found:
        gzip.decompress(segment.path.read_bytes())


def test_a_segment_that_is_old_is_closed_even_if_nothing_comes(tmp_path: Path) -> None:
    now_s = 1_900_000_000.0
    segments = writer(tmp_path, segment_max_age_s=60.0, clock_s=lambda: now_s)
    segments.append(line(1))
    segments.flush()
    now_s += 59.0
    segments.append(line(2))
    segments.flush()
    now_s += 2.0
    segments.flush()
    (first,) = segments_in(tmp_path)
    gzip.decompress(first.path.read_bytes())
    segments.append(line(3))
    segments.close()
    assert [s.started_at_ms for s in segments_in(tmp_path)] == [
        1_900_000_000_000,
        int(now_s) * 1000,
    ]
    assert numbers(tmp_path) == [1, 2, 3]


def test_the_oldest_are_deleted_beyond_the_bound(tmp_path: Path) -> None:
    now_s = 1_900_000_000.0
    bound = 5000
    segments = writer(tmp_path, segment_max_bytes=1000, max_bytes=bound, clock_s=lambda: now_s)
    (tmp_path / "notes.txt").write_text("of somebody else" * 1000)
    for number in range(200):
        now_s += 1.0
        segments.append(line(number, 100))
        segments.flush()
        assert sum(segment.size_bytes for segment in segments_in(tmp_path)) <= bound
    kept = numbers(tmp_path)
    assert kept == list(range(kept[0], 200))
    assert len(kept) > 20
    assert (tmp_path / "notes.txt").exists()
    segments.close()


def test_a_segment_that_another_process_deleted_is_left_for_a_new_one(tmp_path: Path) -> None:
    segments = writer(tmp_path)
    segments.append(line(1))
    segments.flush()
    (first,) = segments_in(tmp_path)
    first.path.unlink()
    segments.append(line(2))
    segments.close()
    assert numbers(tmp_path) == [2]


def test_two_writers_share_a_folder(tmp_path: Path) -> None:
    first, second = writer(tmp_path), writer(tmp_path)
    for number in range(20):
        (first if number % 2 else second).append(line(number))
        first.flush()
        second.flush()
    assert sorted(numbers(tmp_path)) == list(range(20))
    first.close()
    second.close()


@pytest.mark.parametrize("flushed", [1, 7, 20])
def test_a_segment_cut_anywhere_is_read_up_to_its_last_flush(tmp_path: Path, flushed: int) -> None:
    segments = writer(tmp_path)
    ends = []
    for number in range(20):
        segments.append(line(number, 50))
        segments.flush()
        ends.append(segments_in(tmp_path)[0].size_bytes)
    path = segments_in(tmp_path)[0].path
    content = path.read_bytes()
    segments.close()
    end = ends[flushed - 1]
    for cut in (end, end + 1, end + 17):
        path.write_bytes(content[:cut])
        recording = Recording(tmp_path)
        read = [int(one.text.split()[0]) for one in recording.records()]
        assert read == list(range(flushed))
        assert recording.problems == []


def test_a_damaged_segment_costs_what_lies_behind_the_damage(tmp_path: Path) -> None:
    now_s = 1_900_000_000.0
    segments = writer(tmp_path, segment_max_bytes=1, clock_s=lambda: now_s)
    for group in range(3):
        now_s += 1.0
        for number in range(200):
            segments.append(line(group * 200 + number, 100))
        segments.flush()
    middle = segments_in(tmp_path)[1].path
    content = bytearray(middle.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 50] = bytes(50)
    middle.write_bytes(content)
    recording = Recording(tmp_path)
    read = [int(one.text.split()[0]) for one in recording.records()]
    assert set(range(200)) <= set(read)
    assert set(range(400, 600)) <= set(read)
    of_the_middle = [number for number in read if 200 <= number < 400]
    assert 50 < len(of_the_middle) < 200
    assert any(str(middle) in problem for problem in recording.problems)


@pytest.mark.parametrize("content", [b"", b"\x1f", b"not gzip at all", zlib.compress(b"{}\n")])
def test_a_file_that_is_no_segment_inside_harms_nothing(tmp_path: Path, content: bytes) -> None:
    segments = writer(tmp_path)
    segments.append(line(7))
    segments.close()
    (tmp_path / "1800000000000-00000000.jsonl.gz").write_bytes(content)
    recording = Recording(tmp_path)
    assert [one.text for one in recording.records()] == ["7 "]
    assert len(recording.problems) == (len(content) > 1)


def test_lines_that_are_no_records_are_named(tmp_path: Path) -> None:
    segments = writer(tmp_path)
    segments.append(b"{\n")
    segments.append(line(1))
    segments.append(line(2).replace(b'"version":1', b'"version":"one"'))
    segments.close()
    recording = Recording(tmp_path)
    assert [one.text for one in recording.records()] == ["1 "]
    (path,) = [segment.path for segment in segments_in(tmp_path)]
    assert recording.problems[0].startswith(f"{path}, line 1: (line): Invalid JSON")
    assert recording.problems[1].startswith(f"{path}, line 3: version: Input should be a valid")


def test_records_are_filtered_by_time_and_model(tmp_path: Path) -> None:
    segments = writer(tmp_path)
    for at_ms, model in ((1000, "understanding"), (2000, "encoder"), (3000, "understanding")):
        segments.append(record(str(at_ms), arrived_at_ms=at_ms, model=model).line())
    segments.close()
    recording = Recording(tmp_path)

    def texts(**filters: object) -> list[str]:
        return [one.text for one in recording.records(**filters)]  # type: ignore[arg-type]

    assert texts() == ["1000", "2000", "3000"]
    assert texts(model="understanding") == ["1000", "3000"]
    assert texts(since_ms=2000) == ["2000", "3000"]
    assert texts(until_ms=2000) == ["1000"]
    assert texts(model="encoder", since_ms=1500, until_ms=2500) == ["2000"]


def test_a_record_of_a_newer_writer_is_read_without_what_it_added(tmp_path: Path) -> None:
    segments = writer(tmp_path)
    segments.append(line(1).replace(b'{"', b'{"mood":"new","', 1))
    segments.close()
    assert numbers(tmp_path) == [1]


def test_no_folder_has_no_records(tmp_path: Path) -> None:
    assert numbers(tmp_path / "nowhere") == []


# A limit on the size of files is refused as a full disk is: in the middle of a write.
_FULL_DISK = """
import resource, sys
from pathlib import Path
from tests.recordings import writer
from tests.unit.test_recording_segments import line

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

segments = writer(Path(sys.argv[1]))
for number in range(int(sys.argv[2])):
    segments.append(line(number))
    segments.flush()
for number in range(100, 200):
    segments.append(line(number, 200))
limit(2000)
for _ in range(2):
    try:
        segments.flush()
    except OSError:
        print("refused", segments.pending, len(list(Path(sys.argv[1]).iterdir())))
limit(resource.RLIM_INFINITY)
segments.close()
print("written", segments.written)
"""


@pytest.mark.parametrize("before", [0, 3])
def test_after_a_full_disk_every_record_is_there_once(tmp_path: Path, before: int) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(tmp_path), str(before)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    files = 1 if before else 0
    assert ran.stdout.splitlines() == [
        *[f"refused 100 {files}"] * 2,
        f"written {before + 100}",
    ], ran.stderr
    assert sorted(numbers(tmp_path)) == [*range(before), *range(100, 200)]
