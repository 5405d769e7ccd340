"""Where a replica's time goes: who holds Python's lock under load, in microseconds a request.

    stack ─▶ load ─▶ py-spy (samples of the thread that holds the lock) ─▶ parts

Every sample is booked to the deepest frame that is ours, or to the library that was at work. What
the process uses besides (gRPC's own threads, SQLite and NumPy without the lock) is the rest of its
CPU time. A sample every 2.5 ms: of eight seconds, a part of 1 % is known to about a fifth. The
process is not stopped for a sample, which would more than double its time; some are lost for that.
"""

import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from loadtest.bench.cpu import REPLICA, ServerProcesses
from loadtest.bench.load import Load, LoadGenerator

SAMPLES_PER_S = 400
UNLOCKED = "outside Python's lock: gRPC's threads, SQLite, NumPy"
# By the file of a frame, the first that fits; frames are looked at from the deepest on.
_PARTS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), part)
    for pattern, part in (
        (r"^serving/models/(tokenizer|word_memory)", "tokenizer"),
        (r"^serving/coalescing/", "coalescer"),
        (r"^serving/triton/connection", "gRPC call to Triton"),
        (r"^serving/triton/", "tensors to and from Triton"),
        (r"^serving/stores/", "stores: SQLite, JSON"),
        (r"^serving/ingress/(decode|encode)", "ingress: decode and encode"),
        (r"^serving/(ingress/|time_limit|deadline|telemetry/|context)", "ingress: call, deadline"),
        (r"^serving/steps/understand", "step understand"),
        (r"^serving/(steps/(retrieve|encode|extract)|words)", "steps of answers"),
        (r"^serving/(steps/(rank|generate|diversify)|catalogue)", "steps of recommendations"),
        (r"^serving/steps/decide", "step decide"),
        (r"^serving/steps/outputs", "reading outputs"),
        (r"^serving/(dialogue/|features)", "dialogue and features"),
        (r"^serving/(pipelines/|concurrently)", "pipelines"),
        (r"^serving/", "the rest of serving"),
        (r"^grpc/aio/_(call|channel|metadata|base)", "gRPC call to Triton"),
        (r"^ray/", "Ray"),
    )
)
# A thread of the loop with nothing of Python's above it: C code of the loop and of gRPC.
_LOOP = "the loop's and gRPC's server code in C"
_FRAME = re.compile(r"^(?P<name>.*) \((?P<file>[^()]*?)(?::\d+)?\)$")


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Microseconds of a replica for one request."""

    requests_per_s: float
    # CPU of the whole process.
    cpu_us: float
    # With Python's lock held, by part.
    parts_us: Mapping[str, float]

    def rows(self) -> list[tuple[str, float]]:
        """All parts, the largest first, and what is outside the lock."""
        held = sorted(self.parts_us.items(), key=lambda item: -item[1])
        return [*held, (UNLOCKED, max(0.0, self.cpu_us - sum(self.parts_us.values())))]


def profile(generator: LoadGenerator, load: Load, processes: ServerProcesses) -> Profile:
    """Puts a load on a running stack and samples its replica.

    Raises:
        RuntimeError: there is not exactly one replica, py-spy failed, or nothing was answered.
    """
    pids = processes.pids(REPLICA)
    if len(pids) != 1:
        raise RuntimeError(f"{len(pids)} replicas: only one can be looked at")
    # py-spy needs a moment to begin.
    seconds = max(1, int(load.seconds - 1.0))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "samples"
        sampling: list[subprocess.Popen[bytes]] = []
        used: list[float] = []

        def look() -> None:
            used.append(processes.cpu_seconds().get(REPLICA, 0.0))
            if not sampling:
                sampling.append(_start(pids[0], seconds, path))

        outcome = generator.run(load, look)
        _, said = sampling[0].communicate()
        if sampling[0].returncode:
            raise RuntimeError(f"py-spy: {said.decode(errors='replace').strip()}")
        samples = path.read_text(encoding="utf-8").splitlines()
    if not outcome.requests:
        raise RuntimeError(f"nothing was answered: {outcome.first_error}")
    a_request = 1e6 / outcome.requests
    scale = outcome.seconds / seconds / SAMPLES_PER_S
    return Profile(
        requests_per_s=outcome.requests / outcome.seconds,
        cpu_us=(used[1] - used[0]) * a_request,
        parts_us={part: n * scale * a_request for part, n in booked(samples).items()},
    )


def booked(lines: Iterable[str]) -> Counter[str]:
    """Samples by part, out of py-spy's raw format: frames joined by semicolons, and a count."""
    parts: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        parts[_part(stack.split(";"))] += int(count)
    return parts


def _part(frames: list[str]) -> str:
    library = ""
    for frame in reversed(frames):
        found = _FRAME.match(frame)
        file = found["file"] if found else frame
        for pattern, part in _PARTS:
            if pattern.match(file):
                return part
        if not library and not file.startswith("threading.py"):
            library = file.split("/")[0].removesuffix(".py")
    return f"library {library}" if library else _LOOP


def _start(pid: int, seconds: int, path: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [
            str(Path(sys.executable).with_name("py-spy")),
            *("record", "--pid", str(pid), "--duration", str(seconds)),
            *(
                "--rate",
                str(SAMPLES_PER_S),
                "--gil",
                "--nonblocking",
                "--format",
                "raw",
                "--output",
                str(path),
            ),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
