"""Artifacts on an MLflow server.

They come and go through the server (`mlflow-artifacts:`, what `mlflow server` does unless told
otherwise), so that neither the client nor the credentials of a storage service are needed here.
"""

from pathlib import Path
from urllib.parse import quote, urlsplit

from model_build.exchange.mlflow_http import MlflowHttp
from serving.errors import FailedPrecondition, InvalidRequest, NotFound, StartupError

_API = "/api/2.0/mlflow-artifacts/artifacts"
_SCHEME = "mlflow-artifacts"


class RemoteFolder:
    """A folder of artifacts on the server."""

    def __init__(self, http: MlflowHttp, uri: str) -> None:
        """Takes the URI by which MLflow names it.

        Raises:
            FailedPrecondition: its files do not come through the server.
        """
        parts = urlsplit(uri)
        if parts.scheme != _SCHEME or parts.netloc:
            raise FailedPrecondition(
                f"{http.url}: the artifacts lie at {uri}, which this server does not serve itself; "
                "run it with --serve-artifacts and without --default-artifact-root"
            )
        self.uri = uri
        self._http = http
        self._path = f"{_API}/{quote(parts.path.strip('/'))}"

    def fetch(self, name: str, target: Path, at_most: int) -> None:
        """Downloads the file `name` into `target`.

        Raises:
            InvalidRequest: there is no such file, or it is larger than `at_most` bytes.
            StartupError: `target` cannot be written.
            CartwrightError: see `mlflow_http`.
        """
        size = 0
        try:
            with target.open("wb") as file:
                for block in self._http.blocks(f"{self._path}/{quote(name)}"):
                    size += len(block)
                    if size > at_most:
                        raise InvalidRequest(name, f"is larger than {at_most} bytes")
                    file.write(block)
        except NotFound as error:
            raise InvalidRequest(name, "is not among its artifacts") from error
        except OSError as error:
            raise StartupError(f"{target}: cannot be written: {error.strerror}") from error

    def store(self, file: Path) -> None:
        """Uploads a file under its own name.

        Raises:
            StartupError: it cannot be read.
            CartwrightError: see `mlflow_http`.
        """
        try:
            self._http.put(f"{self._path}/{quote(file.name)}", file)
        except OSError as error:
            raise StartupError(f"{file}: cannot be read: {error.strerror}") from error
