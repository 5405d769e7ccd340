"""Becomes tritonserver, after tying its life to that of the process that wants it.

python -I -S launch.py PARENT_PID PROGRAM ARGUMENT…

Run as a file of its own rather than between fork and exec of the parent: a Ray worker has many
threads, and Python code in the forked child of such a process may wait for ever on a lock that
some other thread held.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Replaces this process; the kernel kills it when the parent ends, however that comes about."""
    parent, program = int(arguments[0]), arguments[1]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        sys.exit(f"prctl(PR_SET_PDEATHSIG): {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:
        sys.exit("the parent ended before tritonserver was started")
    os.execv(program, arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
