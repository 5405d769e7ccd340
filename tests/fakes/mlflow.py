"""A server with the few calls of MLflow's API that are made here, and faults to order."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from model_build.exchange.mlflow_http import Credentials
from model_build.exchange.mlflow_registry import MlflowRegistry

_FILES = "/api/2.0/mlflow-artifacts/artifacts/"
# Replies to calls that make something.
_MADE: dict[str, Any] = {
    "runs/create": {"run": {"info": {"run_id": "r1", "artifact_uri": "mlflow-artifacts:/1/r1"}}},
    "model-versions/create": {"model_version": {"name": "decision", "version": "5"}},
}


@dataclass
class FakeVersion:
    """What the registry says of one version, and its files."""

    files: dict[str, bytes]
    status: str = "READY"
    artifact_uri: str = ""


@dataclass
class FakeMlflow:
    """Serves on loopback within a `with` block; may be changed while it does."""

    versions: dict[tuple[str, int], FakeVersion] = field(default_factory=dict)
    aliases: dict[tuple[str, str], int] = field(default_factory=dict)
    # Answer to everything, instead of the right one: status and body.
    answer: tuple[int, bytes] | None = None
    # Files whose transfer breaks in the middle.
    broken: set[str] = field(default_factory=set)
    # Called with each path before it is answered.
    before: Callable[[str], None] = lambda path: None
    paths: list[str] = field(default_factory=list)
    # What was posted, by call.
    posted: list[tuple[str, Any]] = field(default_factory=list)
    authorizations: set[str | None] = field(default_factory=set)

    def add(self, name: str, version: int, folder: Path) -> FakeVersion:
        """Registers the files of a version folder."""
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        made = FakeVersion(files, artifact_uri=f"mlflow-artifacts:/1/run of {name}/{version}")
        self.versions[name, version] = made
        return made

    def registry(self, credentials: Credentials | None = None) -> MlflowRegistry:
        """A client of it."""
        return MlflowRegistry(self.url, credentials or Credentials())

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def fetched(self) -> list[str]:
        """Names of the files that were asked for, in order."""
        return [path.rpartition("/")[2] for path in self.paths if path.startswith(_FILES)]

    def __enter__(self) -> Self:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                fake.paths.append(self.path)
                fake.authorizations.add(self.headers["Authorization"])
                fake.before(self.path)
                self._answer(*fake._reply(self.path))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                call = self.path.removeprefix("/api/2.0/mlflow/")
                fake.posted.append((call, json.loads(body)))
                reply = json.dumps(_MADE.get(call, {})).encode()
                self._answer(200, reply, len(reply))

            def do_PUT(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                fake.paths.append(self.path)
                self._answer(500 if self.path.rpartition("/")[2] in fake.broken else 200, b"", 0)

            def _answer(self, status: int, body: bytes, sent: int) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[:sent])

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _reply(self, path: str) -> tuple[int, bytes, int]:
        """Status, body, and how much of it is sent."""
        if self.answer is not None:
            return *self.answer, len(self.answer[1])
        parts = urlsplit(path)
        if parts.path.startswith(_FILES):
            return self._file(unquote(parts.path.removeprefix(_FILES)))
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        status, document = self._document(parts.path.removeprefix("/api/2.0/mlflow/"), query)
        body = json.dumps(document).encode()
        return status, body, len(body)

    def _file(self, path: str) -> tuple[int, bytes, int]:
        folder, _, name = path.rpartition("/")
        for version in self.versions.values():
            if version.artifact_uri == f"mlflow-artifacts:/{folder}" and name in version.files:
                body = version.files[name]
                return 200, body, len(body) // 2 if name in self.broken else len(body)
        body = b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such artifact"}'
        return 404, body, len(body)

    def _document(self, call: str, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
        if call == "experiments/get-by-name":
            return 200, {"experiment": {"experiment_id": "1"}}
        name = query["name"]
        if call == "registered-models/get":
            return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such model"}
        if call == "registered-models/alias":
            number = self.aliases.get((name, query["alias"]), 0)
            if not number:
                # No 404: MLflow takes it for a wrong parameter.
                return 400, {"error_code": "INVALID_PARAMETER_VALUE", "message": "alias not found"}
        else:
            number = int(query["version"])
        version = self.versions.get((name, number))
        if version is None:
            return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "version not found"}
        if call == "model-versions/get-download-uri":
            return 200, {"artifact_uri": version.artifact_uri}
        # Numbers are texts there, and much more is said than anybody reads.
        return 200, {
            "model_version": {
                "name": name,
                "version": str(number),
                "run_id": f"run-{number}",
                "status": version.status,
                "creation_timestamp": 1,
            }
        }
