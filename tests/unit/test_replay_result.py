"""Pairs of answers to a result, and the result on the terminal, as JSON and as a page."""

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from model_build.promotion.replay import ReplayBounds
from model_build.replay.command import judge, write
from model_build.replay.compare import EXAMPLES_A_KIND
from model_build.replay.differences import Kind
from model_build.replay.page import render
from model_build.replay.pairs import Pair
from model_build.replay.report import lines, tables
from model_build.replay.result import ReplayResult, share_of
from serving.errors import StartupError
from serving.recording.records import RecordedAnswer
from serving.types import Slot
from tests.fakes.replays import answer, answered, pair, result_of
from tests.recordings import record

HOSTILE = "<script>alert('x')</script> & <b>bold</b> {{ 7 * 7 }} [red]no markup[/red] [/]"


def test_requests_are_counted_by_kind_and_once_in_all() -> None:
    result = result_of(
        *[pair("same", answer(), answer())] * 6,
        pair("other", answer(), answer("get_refund", out_of_scope_probability=0.9)),
        pair("other", answer(), answer("get_refund", out_of_scope_probability=0.9)),
        pair("fails", answer(), None),
        pair("both fail", None, None),
    )
    assert (result.records, result.texts) == (10, 4)
    assert (result.disagreements.count, result.disagreements.of) == (3, 10)
    counts = {kind: share.count for kind, share in result.by_kind.items() if share.count}
    assert counts == {Kind.INTENT: 2, Kind.OUT_OF_SCOPE: 2, Kind.FAILED: 1}
    assert set(result.by_kind) == set(Kind)
    assert (result.first.failed, result.second.failed) == (1, 2)
    assert result.second.first_failure == "DeadlineExceeded: time ran out"
    (change,) = result.intent_changes
    assert (change.first, change.second, change.records) == ("track_order", "get_refund", 2)


def test_latency_is_of_what_was_answered() -> None:
    durations = [float(n) for n in range(1, 101)]
    result = result_of(
        *(
            Pair(record=record(), first=answered(answer(), ms), second=answered(None, 9999.0))
            for ms in durations
        )
    )
    latency = result.first.latency
    assert latency is not None
    assert (latency.calls, latency.mean_ms, latency.p50_ms) == (100, 50.5, 50.5)
    assert latency.p99_ms == pytest.approx(99.01)
    assert result.second.latency is None


def test_examples_are_grouped_by_what_matters_most_the_frequent_first() -> None:
    moved = answer(intent_confidence=0.5)
    result = result_of(
        *[pair("often unsure", answer(), moved)] * 5,
        pair("once another", answer(), answer("get_refund")),
        *[pair("twice another", answer(), answer("complaint"), trace_id="ab" * 16)] * 2,
        pair("same", answer(), answer()),
    )
    assert [(e.text, e.records) for e in result.examples] == [
        *(("twice another", 2), ("once another", 1), ("often unsure", 5)),
    ]
    twice = result.examples[0]
    assert twice.trace_id == "ab" * 16
    assert twice.first is not None
    assert twice.second is not None
    assert (twice.first.intent, twice.second.intent) == ("track_order", "complaint")


def test_examples_are_bounded_and_the_rest_is_counted() -> None:
    many = EXAMPLES_A_KIND + 7
    result = result_of(
        *(pair(f"text {n}", answer(), answer("get_refund")) for n in range(many)),
        pair("unsure", answer(), answer(intent_confidence=0.1)),
    )
    assert len(result.examples) == EXAMPLES_A_KIND + 1
    assert result.examples_left_out == 7
    assert result.by_kind[Kind.INTENT].count == many


def test_what_a_version_answered_live_is_compared_with_what_it_answers_now() -> None:
    live = RecordedAnswer(
        intent="track_order",
        intent_confidence=0.9,
        sentiment="neutral",
        out_of_scope_probability=0.0,
    )
    result = result_of(
        *[pair("as then", answer(), answer(), version=3, answer=live)] * 3,
        pair("not as then", answer("complaint"), answer(), version=3, answer=live),
        pair("of another version", answer(), answer(), version=2, answer=live),
    )
    assert (result.first.as_recorded.count, result.first.as_recorded.of) == (3, 4)
    assert result.second.as_recorded.of == 0


@pytest.mark.parametrize(
    ("count", "of", "low", "high"),
    # From the formula's author's kind of table; 0 of 10 by hand: 1.96² / (10 + 1.96²).
    [
        (0, 10, 0.0, 0.2775),
        (5, 10, 0.2366, 0.7634),
        (10, 10, 0.7225, 1.0),
        (1, 1000, 0.0002, 0.0056),
    ],
)
def test_bounds_of_a_share(count: int, of: int, low: float, high: float) -> None:
    share = share_of(count, of)
    assert (share.low, share.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))
    assert share.low <= share.value <= share.high


def test_nothing_seen_is_nothing_known() -> None:
    share = share_of(0, 0)
    assert (share.value, share.low, share.high) == (0.0, 0.0, 1.0)
    with pytest.raises(ValueError, match="there is none to compare"):
        result_of()


def test_the_result_survives_its_json() -> None:
    result = result_of(
        pair(HOSTILE, answer(), answer("get_refund")),
        pair("fails", None, answer()),
        pair("same", answer(), answer(), arrived_at_ms=1_950_000_000_000),
    )
    again = ReplayResult.model_validate_json(result.model_dump_json())
    assert again == result
    document = json.loads(result.model_dump_json())
    assert document["by_kind"]["intent changed"]["count"] == 1
    assert document["recorded_until"] == "2031-10-17T10:40:00Z"


class Seen(HTMLParser):
    """Tags and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += f" {data}"


def hostile_result() -> ReplayResult:
    slots = (Slot(name=HOSTILE, value=HOSTILE, start_char=0, end_char=3),)
    return result_of(
        pair(HOSTILE, answer(HOSTILE, slots=slots), answer("x"), trace_id=HOSTILE),
        pair(
            HOSTILE,
            None,
            answer(),
        ),
    )


def test_the_page_shows_hostile_words_as_words() -> None:
    result = hostile_result()
    result = result.model_copy(
        update={"first": result.first.model_copy(update={"first_failure": HOSTILE})}
    )
    seen = Seen(render(result))
    assert "script" not in seen.tags
    # Text, intent in the example and in the list of changes, slot name and value, trace, failure.
    assert seen.text.count(HOSTILE) >= 8
    assert not any(name.startswith("on") for name, _ in seen.attributes)


def test_the_page_needs_nothing_but_itself() -> None:
    seen = Seen(render(hostile_result()))
    assert not {"script", "link", "img", "iframe"} & set(seen.tags)
    assert not {"src", "href"} & {name for name, _ in seen.attributes}
    assert "http" not in render(result_of(pair("a", answer(), answer())))


def test_the_page_has_the_figures() -> None:
    result = result_of(
        *[pair("same", answer(), answer())] * 3, pair("other", answer(), answer("get_refund"))
    )
    text = " ".join(Seen(render(result)).text.split())
    assert "Replay: understanding 3 and 4" in text
    assert "intent changed 1 25.00 %" in text
    assert "slot added 0 0.00 % 0.00 to 48.99 %" in text
    assert "3 4 5.00 5.00 5.00 0 onnx abababababab" in text
    assert "4 4 7.00 7.00 7.00 0 onnx abababababab" in text
    assert "track_order get_refund 1" in text
    agreed = " ".join(Seen(render(result_of(pair("same", answer(), answer())))).text.split())
    assert "The versions agree on every request." in agreed


def test_the_page_shows_the_verdict_and_its_words_as_words() -> None:
    result = result_of(pair("same", answer(), answer()), pair(HOSTILE, answer(), None))
    assert "verdict" not in dict(Seen(render(result)).attributes).values()
    verdict = judge(result, ReplayBounds())
    assert verdict.examples == (f"{HOSTILE!r}: failed",)
    result = result.model_copy(update={"verdict": replace(verdict, reason=HOSTILE)})
    assert ReplayResult.model_validate_json(result.model_dump_json()) == result
    seen = Seen(render(result))
    assert f"Version 4 against 3: failed . {HOSTILE}" in " ".join(seen.text.split())
    assert ("class", "verdict failed") in seen.attributes
    assert "script" not in seen.tags


def test_the_terminal_shows_the_figures_and_no_markup_of_others() -> None:
    console = Console(width=200, no_color=True)
    with console.capture() as capture:
        for table in tables(hostile_result()):
            console.print(table)
    shown = capture.get()
    assert "intent changed" in shown
    assert "50.00%" in shown
    assert "[red]no markup[/red] [/]" in shown
    said = list(lines(hostile_result()))
    assert said[0].startswith("understanding 3 (onnx) and 4 (onnx): 2 requests with 1 texts")
    assert "version 3 failed 1 times, first: DeadlineExceeded: time ran out" in said


def test_results_are_written_beside_each_other(tmp_path: Path) -> None:
    result = hostile_result()
    written = write(result, tmp_path / "new" / "folder")
    assert [path.name for path in written] == ["replay.json", "replay.html"]
    assert ReplayResult.model_validate_json(written[0].read_bytes()) == result
    assert written[1].read_text() == render(result)
    (tmp_path / "file").touch()
    with pytest.raises(StartupError, match="file"):
        write(result, tmp_path / "file")
