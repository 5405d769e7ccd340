"""CPU time by kind of process, out of /proc, over everything that one server started.

A server's processes are known by a variable in their environment (MARKER), which all descendants
inherit, also those whose parents have ended.
"""

import os
import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MARKER = "BENCH_SERVER"
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
MODEL = "model "
TRITON = "tritonserver"
REPLICA = "replica"
HAPROXY = "HAProxy"
SERVER = "server"
RAY = "Ray: "
# By what stands in a process's command line; the first that fits.
_KINDS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), kind)
    for pattern, kind in (
        (r"triton_python_backend_stub .*?/(?P<model>[a-z_]+)(?:\.\d+)?/\d+/", MODEL + "{model}"),
        (r"triton_python_backend_stub", MODEL + "(other)"),
        (r"triton/tether", "tether of tritonserver"),
        (r"tritonserver", TRITON),
        (r"haproxy", HAPROXY),
        (r"^ray::ServeReplica:.*:(?P<name>Agent|Echo)\b", REPLICA),
        (r"^ray::ServeReplica:.*:Step-(?P<name>[a-z_]+)", "step {name}"),
        (r"^ray::ServeReplica:.*:ModelHost", "host supervisor"),
        (r"^ray::ServeReplica:", REPLICA),
        (r"^ray::ServeController", RAY + "controller"),
        (r"^ray::HAProxyManager", RAY + "HAProxy manager"),
        (r"^ray::ProxyActor", RAY + "proxy"),
        (r"^ray::RegistryActor", "registry"),
        (r"^ray::DashboardAgent", RAY + "dashboard agent"),
        (r"^ray::RuntimeEnvAgent", RAY + "runtime env agent"),
        (r"^ray::IDLE", RAY + "idle workers"),
        (r"^ray::", RAY + "other actors"),
        (r"gcs_server", RAY + "GCS"),
        (r"/raylet\b|^raylet", RAY + "raylet"),
        (r"log_monitor", RAY + "log monitor"),
        (r"runtime_env/agent|runtime_env_agent", RAY + "runtime env agent"),
        (r"dashboard/agent", RAY + "dashboard agent"),
        (r"dashboard/dashboard", RAY + "dashboard"),
        (r"_private/monitor", RAY + "autoscaler monitor"),
        (r"default_worker|ray/core", RAY + "idle workers"),
        (r"serving\.cli\.main|loadtest/bench", SERVER),
    )
)
_OTHER = "other"


@dataclass(frozen=True)
class _Process:
    pid: int
    # Clock ticks since boot; tells a process from a later one with its pid.
    started: int


class ServerProcesses:
    """The processes of one server. Not for two threads at once."""

    def __init__(self, mark: str) -> None:
        """`mark` is the value of MARKER in the server's environment."""
        self._wanted = f"{MARKER}={mark}".encode()
        self._known: dict[_Process, bool] = {}

    def cpu_seconds(self) -> dict[str, float]:
        """CPU seconds so far by kind, of the processes that live."""
        sums: dict[str, float] = {}
        for process, (user, system) in self._stats().items():
            kind = _kind(process.pid)
            if kind is not None:
                sums[kind] = sums.get(kind, 0.0) + (user + system) / _TICKS_PER_S
        return sums

    def pids(self, kind: str) -> list[int]:
        """Processes of one kind."""
        return [process.pid for process in self._stats() if _kind(process.pid) == kind]

    def freeze(self) -> None:
        """Stops every process where it is, the oldest first."""
        for process in sorted(self._stats(), key=lambda p: p.started):
            _signal(process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets them go on, the youngest first: those who watch over others wake last."""
        for process in sorted(self._stats(), key=lambda p: -p.started):
            _signal(process.pid, signal.SIGCONT)

    def command_lines(self) -> list[str]:
        """Command line of each."""
        return [_command_line(process.pid) or "" for process in self._stats()]

    def _stats(self) -> dict[_Process, tuple[int, int]]:
        """User and system ticks of every marked process."""
        found: dict[_Process, tuple[int, int]] = {}
        seen: dict[_Process, bool] = {}
        for pid in _pids():
            try:
                # Behind the name, which may hold blanks and brackets.
                stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                process = _Process(pid, int(stat[19]))
                marked = self._known.get(process)
                if not marked:
                    # A process shows its parent's environment until it runs its own program.
                    environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
                    marked = self._wanted in environment
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                # Gone meanwhile, or of another user and so none of ours.
                continue
            seen[process] = marked
            if marked:
                found[process] = (int(stat[11]), int(stat[12]))
        self._known = seen
        return found


def difference(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """What was used between two looks, by kind; kinds that used nothing are left out."""
    return {
        kind: after[kind] - before.get(kind, 0.0)
        for kind in sorted(after)
        if after[kind] - before.get(kind, 0.0) > 0.0
    }


def kind_of(command_line: str) -> str:
    """The kind of process with this command line (arguments joined by blanks)."""
    for pattern, kind in _KINDS:
        found = pattern.search(command_line)
        if found:
            return kind.format(**found.groupdict())
    return _OTHER


def is_model(kind: str) -> bool:
    """Whether it is a model's own work."""
    return kind.startswith(MODEL)


def is_ray(kind: str) -> bool:
    """Whether it is one of Ray's own processes, which run whether or not anybody calls."""
    return kind.startswith(RAY)


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]


def _kind(pid: int) -> str | None:
    line = _command_line(pid)
    return None if line is None else kind_of(line)


def _command_line(pid: int) -> str | None:
    """None for a process that is gone."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return raw.replace(b"\0", b" ").decode(errors="replace").strip()


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        # Ended meanwhile.
        return
