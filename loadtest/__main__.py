"""Runs Locust without its web page, in several processes, against the stack of this folder.

    python -m loadtest --model users --shape soak --level 20 --thresholds loadtest/thresholds.yaml
    python -m loadtest --model arrivals --shape overload

Takes the options of the locustfile. An overload without --saturation-rps finds the saturation
first: callers without pauses, more and more of them.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loadtest.plan import OPTIONS, PlanUnusable, read_plan
from loadtest.population import ShopUnreadable
from loadtest.thresholds import ThresholdsUnusable, load_thresholds
from serving.cli.connection import default_address
from serving.errors import StartupError

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
UNUSABLE = 2
# Callers of the search for saturation: 4, 8, ... 128, for so long each.
SEARCH = {"model": "callers", "shape": "steps", "level": 4.0, "factor": 2.0, "steps": 6}
SEARCH_HOLD_S = 4.0
CONNECT_TIMEOUT_S = 1.0


def main() -> int:
    """Reads the command line and runs; returns the exit code."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    values = vars(_parser().parse_args())
    processes: int = values.pop("processes")
    host: str | None = values.pop("host")
    out = Path(values.pop("out") or f"var/load/{time.strftime('%Y%m%d-%H%M%S')}")
    try:
        address = host or default_address()
        searches = values["shape"] == "overload" and not values["saturation_rps"]
        read_plan({**values, **({"saturation_rps": 1.0} if searches else {})})
        if values["thresholds"]:
            load_thresholds(Path(values["thresholds"]))
        _require_listener(address)
    except (PlanUnusable, ThresholdsUnusable, ShopUnreadable, StartupError) as error:
        print(f"cannot start: {error}", file=sys.stderr)
        return UNUSABLE
    if searches:
        found = _search(values, processes, address, out / "search")
        if not found:
            print("cannot start: no call was answered well, so there is nothing to double")
            return UNUSABLE
        values["saturation_rps"] = found
    return _run(values, processes, address, out)


def _search(values: Mapping[str, Any], processes: int, address: str, out: Path) -> float:
    """The best goodput that callers without pauses reach, in calls a second."""
    print("looking for saturation", flush=True)
    search = {**values, **SEARCH, "hold_s": SEARCH_HOLD_S, "thresholds": ""}
    code = _run(search, processes, address, out)
    if code:
        return 0.0
    document = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    return round(float(document["knee"]["peak_goodput_per_s"]), 1)


def _run(values: Mapping[str, Any], processes: int, address: str, out: Path) -> int:
    port = str(_free_port())
    command = [
        *(sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary"),
        *("--host", address, "--out", str(out), "--loglevel", "WARNING"),
        *("--processes", str(processes), "--master-bind-host", "127.0.0.1"),
        *("--master-bind-port", port, "--master-port", port),
    ]
    for option in OPTIONS:
        value = values.get(option.name, option.default)
        if value != option.default:
            command += (option.flag, str(value))
    process = subprocess.Popen(command)
    try:
        return process.wait()
    except (KeyboardInterrupt, SystemExit):
        # Locust ends its workers, writes the report of what there is, and ends.
        process.terminate()
        process.wait()
        raise


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--host", help="host:port (default: the stack that runs in this folder)")
    parser.add_argument(
        "--processes",
        type=int,
        default=max((os.cpu_count() or 1) // 2, 1),
        help="generator processes (default: half of the cores)",
    )
    for option in OPTIONS:
        parser.add_argument(
            option.flag,
            type=type(option.default),
            default=option.default,
            choices=option.choices,
            help=f"{option.help} (default: {option.default})".replace("%", "%%"),
        )
    return parser


def _require_listener(address: str) -> None:
    """Finds in a moment that no stack is there.

    Raises:
        PlanUnusable: nothing listens at the address, or it is none.
    """
    name, _, port = address.rpartition(":")
    if not name or not port.isdecimal():
        raise PlanUnusable(f"--host: must be host:port, got {address!r}")
    try:
        socket.create_connection((name, int(port)), timeout=CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise PlanUnusable(
            f"--host: nothing listens at {address} ({error}); start the stack with `make serve`"
        ) from error


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
