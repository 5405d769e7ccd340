"""Stands in for HAProxy: edits the configuration that Ray Serve wrote, then becomes HAProxy.

    Ray Serve ─▶ haproxy.cfg ─▶ this program ─▶ exec haproxy

Ray Serve runs it at the start and at each reload (`RAY_SERVE_HAPROXY_BINARY_PATH`). HAProxy then

- refuses calls beyond the limit in flight, with RESOURCE_EXHAUSTED and a retry-after. That costs a
  fraction of a refusal in a replica and comes at once, while a replica that is behind reads a call
  only after those before it;
- says UNAVAILABLE when no replica answers, where Ray Serve's HTTP 500 would read as UNKNOWN;
- leaves calls that are let in whatever the load (health, reflection, status) out of the count;
- offers its pages to this machine only, and logs no calls to a syslog that nobody runs.

A replica tells its present limit now and then in a header of its replies, which goes no further.
What this program does not recognise it leaves as it is, and says so on stderr: then the limit in
the replicas is the only one.

Runs by its path, with nothing but the standard library, so that a reload takes milliseconds.
"""

import argparse
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# Header of a replica's reply: calls that may be in flight there now.
LIMIT_HEADER = "cartwright-in-flight-limit"

_SECTION = re.compile(r"^(?=(?:global|defaults|frontend|backend|listen)\b)", re.MULTILINE)
_FRONTEND = "frontend grpc_frontend"
_ROUTING = "    # Route per-app on the `application` metadata"
_UNCOUNTED = "uncounted"
# gRPC's codes.
_EXHAUSTED, _UNAVAILABLE = 8, 14
# An answer without a message; HAProxy sends it in place of its own errors.
_LOST = f"""\
HTTP/1.1 200 OK
content-type: application/grpc
grpc-status: {_UNAVAILABLE}
grpc-message: no replica answered
content-length: 0

""".replace("\n", "\r\n")
_LOST_FILE = "unavailable.http"


class Unrecognised(Exception):
    """The configuration does not look as expected; the text says what is missing."""


@dataclass(frozen=True, kw_only=True)
class Edge:
    """What HAProxy is to do."""

    # Name of the application in Ray Serve.
    application: str
    # Where HAProxy's metrics are offered.
    metrics_host: str
    # Calls in flight for each replica at most; a replica may ask for less.
    max_in_flight: int
    # Share of the limit that is open to a method, by its path. Empty: nobody is refused.
    shares: Mapping[str, float]
    # Beginnings of the paths that are always let in and not counted.
    uncounted: Sequence[str]
    retry_after_key: str
    retry_after_ms: int


def edited(config: str, edge: Edge, folder: Path) -> str:
    """The configuration with everything added.

    Args:
        config: as Ray Serve wrote it.
        edge: what to add.
        folder: of the file that HAProxy answers with when no replica does.

    Raises:
        Unrecognised: it is not what Ray Serve 2.60 writes.
    """
    sections = _SECTION.split(_listening(config, edge.metrics_host))
    heads = [section.split("\n", 1)[0].strip() for section in sections]
    if _FRONTEND not in heads:
        raise Unrecognised(f"no section {_FRONTEND!r}")
    backend = f"grpc-{edge.application}"
    if f"backend {backend}" not in heads:
        # The application is not there yet, or not any more.
        return "".join(sections)
    front, back = heads.index(_FRONTEND), heads.index(f"backend {backend}")
    before, routing, after = sections[front].partition(_ROUTING)
    if not routing:
        raise Unrecognised(f"no line {_ROUTING.strip()!r} in {_FRONTEND!r}")
    losses = _lines([f"errorfile {code} {folder / _LOST_FILE}" for code in (502, 503, 504)])
    if edge.shares:
        before += _lines(_rules(backend, edge))
        sections[back] = _learning(sections[back]) + _copy(backend, sections[back]) + losses
    sections[back] = _begun(sections[back], losses)
    sections[front] = before + losses + routing + after
    for index in (front, back):
        sections[index] = re.sub("^    log global$", "    no log", sections[index], flags=re.M)
    return "".join(sections)


def _rules(backend: str, edge: Edge) -> list[str]:
    """Of the frontend, before a backend is chosen."""
    rules = [
        f"acl {_UNCOUNTED} path_beg {' '.join(edge.uncounted)}",
        f"http-request set-var(txn.replicas) nbsrv({backend})",
        f"http-request set-var(txn.limit) int({edge.max_in_flight})",
        "http-request set-var(txn.limit) var(proc.limit) if { var(proc.limit) -m found }",
        "http-request set-var(txn.limit) var(txn.limit),mul(txn.replicas)",
    ]
    for share in sorted(set(edge.shares.values())):
        paths = sorted(path for path, own in edge.shares.items() if own == share)
        percent = round(share * 100)
        rules += [
            f"acl share_{percent} path {' '.join(paths)}",
            f"http-request set-var(txn.share) var(txn.limit),mul({percent}),div(100) "
            f"if share_{percent}",
        ]
    return [
        *rules,
        f"http-request set-var(txn.beyond) be_conn({backend}),sub(txn.share)",
        f"http-request return status 200 hdr grpc-status {_EXHAUSTED} "
        f"hdr {edge.retry_after_key} {edge.retry_after_ms} "
        f'hdr grpc-message "%[be_conn({backend})] requests are in flight; '
        '%[var(txn.share)] of this kind are let in now" '
        "if { var(txn.share) -m found } { var(txn.beyond) -m int ge 0 } "
        # Without a replica the reason is another one.
        "{ var(txn.replicas) -m int gt 0 }",
        # `return` drops the content type of a reply without a body; strict clients insist on it.
        "http-after-response set-header content-type application/grpc "
        "if { res.hdr(grpc-status) -m found }",
        f"use_backend {backend}-{_UNCOUNTED} if {_UNCOUNTED}",
    ]


def _learning(section: str) -> str:
    """The backend takes the limit out of its replies."""
    rules = [
        f"http-response set-var(proc.limit) res.hdr({LIMIT_HEADER}) "
        f"if {{ res.hdr({LIMIT_HEADER}) -m found }}",
        f"http-response del-header {LIMIT_HEADER}",
    ]
    return _begun(section, _lines(rules))


def _begun(section: str, text: str) -> str:
    """The section with something at its beginning."""
    head, rest = section.split("\n", 1)
    return f"{head}\n{text}{rest}"


def _copy(backend: str, section: str) -> str:
    """A second backend of the same servers, whose health it takes from the first."""
    copied = []
    for line in section.splitlines()[1:]:
        words = line.split()
        if words and words[0] in ("mode", "http-reuse", "timeout"):
            copied.append(" ".join(words))
        elif words and words[0] == "server":
            backup = ["backup"] if "backup" in words else []
            track = ["proto", "h2", "track", f"{backend}/{words[1]}"]
            copied.append(" ".join([*words[:3], *track, *backup]))
    return f"backend {backend}-{_UNCOUNTED}\n" + _lines(["no log", *copied])


def _lines(rules: Sequence[str]) -> str:
    return "".join(f"    {rule}\n" for rule in rules)


def _listening(config: str, metrics_host: str) -> str:
    """Statistics are for this machine, metrics for those that reach the API."""
    sections = []
    for section in _SECTION.split(config):
        if section.startswith("listen stats"):
            section = re.sub(r"bind \*:", "bind 127.0.0.1:", section)
        elif section.startswith("frontend prometheus"):
            section = re.sub(r"bind :", f"bind {metrics_host}:", section)
        sections.append(section)
    return "".join(sections)


def _edit_file(path: Path, edge: Edge) -> None:
    """Edits in place."""
    try:
        text = edited(path.read_text(encoding="utf-8"), edge, path.parent)
    except Unrecognised as error:
        sys.stderr.write(f"edge: {path}: left as it is: {error}\n")
        return
    (path.parent / _LOST_FILE).write_text(_LOST, encoding="ascii", newline="")
    # Beside it first: nobody must read half a file.
    new = path.with_name(path.name + ".edited")
    new.write_text(text, encoding="utf-8")
    new.replace(path)


def main(arguments: Sequence[str]) -> None:
    """Edits the configuration and becomes HAProxy; what follows `--` is for HAProxy."""
    parser = argparse.ArgumentParser(prog="edge")
    parser.add_argument("--haproxy", required=True)
    parser.add_argument("--application", required=True)
    parser.add_argument("--metrics-host", required=True)
    parser.add_argument("--max-in-flight", type=int, required=True)
    parser.add_argument("--share", action="append", default=[], metavar="PATH=SHARE")
    parser.add_argument("--uncounted", action="append", default=[], metavar="BEGINNING")
    parser.add_argument("--retry-after-key", required=True)
    parser.add_argument("--retry-after-ms", type=int, required=True)
    split = list(arguments).index("--")
    ours, rest = parser.parse_args(arguments[:split]), list(arguments[split + 1 :])
    shares = (share.rpartition("=") for share in ours.share)
    edge = Edge(
        application=ours.application,
        metrics_host=ours.metrics_host,
        max_in_flight=ours.max_in_flight,
        shares={path: float(share) for path, _, share in shares},
        uncounted=ours.uncounted,
        retry_after_key=ours.retry_after_key,
        retry_after_ms=ours.retry_after_ms,
    )
    if "-f" in rest:
        _edit_file(Path(rest[rest.index("-f") + 1]), edge)
    os.execv(ours.haproxy, [ours.haproxy, *rest])


if __name__ == "__main__":
    main(sys.argv[1:])
