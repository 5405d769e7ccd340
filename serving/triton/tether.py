"""Runs tritonserver for as long as somebody holds the other end of standard input.

python -I -S tether.py LOG SHARED_MEMORY_PREFIX PROGRAM ARGUMENT…

    supervisor ──stdin (lifeline)──▶ tether ──▶ tritonserver ──▶ stubs, regions in /dev/shm
               ◀─"started PID", "ended CODE"──┘

A supervisor that is killed cannot clean up, and tritonserver would outlive it. Nor is it enough
that the kernel kills tritonserver too: a stub that is busy at that moment waits for its server for
ever, and the shared memory stays. This process notices the end of the lifeline, kills the whole
group and removes the memory. If it is killed itself, the kernel kills the server.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_SHARED_MEMORY = Path("/dev/shm")


def main(log: str, shared_memory_prefix: str, command: list[str]) -> None:
    """Runs `command` to its end; tells process id and exit code in lines on standard output."""
    with Path(log).open("ab") as output:
        output.write(f"--- {time.strftime('%Y-%m-%dT%H:%M:%S%z')} {command[0]}\n".encode())
        output.flush()
        server = subprocess.Popen(
            command,
            # Python looks for modules in the working directory first.
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            # Safe here: this process has a single thread so far.
            preexec_fn=_tie_to(os.getpid()),
        )
    _tell(f"started {server.pid}")
    threading.Thread(target=_hold_lifeline, args=(server,), daemon=True).start()
    code = server.wait()
    # Stubs that did not notice.
    _kill_group(server.pid)
    for region in _SHARED_MEMORY.glob(f"{shared_memory_prefix}*"):
        region.unlink(missing_ok=True)
    _tell(f"ended {code}")
    # Nothing is left to be tidied up in this process.
    os._exit(0)


def _hold_lifeline(server: "subprocess.Popen[bytes]") -> None:
    # Not through `sys.stdin`: its lock would be held when the interpreter ends.
    os.read(0, 1)
    if server.poll() is None:
        _kill_group(server.pid)


def _kill_group(leader: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def _tie_to(parent: int) -> Callable[[], None]:
    """Makes the kernel kill the child when this process ends."""
    prctl = ctypes.CDLL(None).prctl

    def tie() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return tie


def _tell(line: str) -> None:
    # The supervisor may be gone.
    with suppress(BrokenPipeError):
        os.write(sys.stdout.fileno(), f"{line}\n".encode())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
