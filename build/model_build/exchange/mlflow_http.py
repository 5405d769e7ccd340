"""HTTP to an MLflow server: JSON and files both ways; every failure is an error of the tree.

no answer, a broken transfer, 429, 5xx     Unavailable: the same call may succeed later
401, 403, 404, 409                         Unauthenticated, PermissionDenied, NotFound, Conflict
other refusals, replies not MLflow's       FailedPrecondition
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
from pydantic import BaseModel, ConfigDict, ValidationError
from requests.auth import AuthBase, HTTPBasicAuth

from serving.errors import (
    CartwrightError,
    Conflict,
    FailedPrecondition,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)

# Seconds to connect, and between two pieces of a reply.
_TIMEOUTS_S = (5.0, 60.0)
_BLOCK_BYTES = 1 << 20
_LONGEST_REASON = 300
_BY_STATUS: dict[int, type[CartwrightError]] = {
    401: Unauthenticated,
    403: PermissionDenied,
    404: NotFound,
    409: Conflict,
    429: Unavailable,
}


class Reply(BaseModel):
    """A JSON reply; servers of other versions may say more."""

    model_config = ConfigDict(extra="ignore", frozen=True)


AnyReply = TypeVar("AnyReply", bound=Reply)


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """What MLflow's own client takes from its environment: a token, or a name and a password."""

    token: str = ""
    username: str = ""
    password: str = ""


class MlflowHttp:
    """One server. `url` is its address without credentials. Not for several threads at once."""

    def __init__(self, url: str, credentials: Credentials) -> None:
        """Connects with the first call.

        Raises:
            InvalidRequest: `url` is no http or https address, or holds a name or password.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidRequest(
                "registry", "must be the http:// or https:// address of an MLflow server"
            )
        if parts.username or parts.password:
            raise InvalidRequest(
                "registry",
                "must hold no password: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
            )
        self.url = url.rstrip("/")
        self._session = requests.Session()
        self._session.auth = _auth(credentials)

    def get(self, kind: type[AnyReply], path: str, **parameters: str) -> AnyReply:
        """A GET of `path`, which begins with a slash.

        Raises:
            CartwrightError: see the table above.
        """
        return self._json(kind, "GET", path, params=parameters)

    def post(self, kind: type[AnyReply], path: str, body: dict[str, Any]) -> AnyReply:
        """A POST of JSON.

        Raises:
            CartwrightError: see the table above.
        """
        return self._json(kind, "POST", path, json=body)

    def blocks(self, path: str) -> Iterator[bytes]:
        """The content of a file, in pieces of at most 1 MiB.

        Raises:
            CartwrightError: see the table above; also in the middle.
        """
        with closing(self._request("GET", path, stream=True)) as response:
            pieces = response.iter_content(_BLOCK_BYTES)
            while True:
                with self._mapped():
                    piece = next(pieces, None)
                if piece is None:
                    return
                yield piece

    def put(self, path: str, file: Path) -> None:
        """A PUT of a file's content.

        Raises:
            CartwrightError: see the table above.
            OSError: the file cannot be opened.
        """
        with file.open("rb") as content:
            self._request("PUT", path, data=content).close()

    def _json(self, kind: type[AnyReply], method: str, path: str, **sent: Any) -> AnyReply:
        with closing(self._request(method, path, **sent)) as response:
            try:
                return kind.model_validate_json(response.content)
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(str(part) for part in first["loc"]) or "(reply)"
                raise FailedPrecondition(
                    f"{self.url}: its reply to {path} is not MLflow's: {where}: {first['msg']}"
                ) from error

    def _request(self, method: str, path: str, **sent: Any) -> requests.Response:
        with self._mapped():
            response = self._session.request(
                method, f"{self.url}{path}", timeout=_TIMEOUTS_S, **sent
            )
        if not response.ok:
            with closing(response):
                status = response.status_code
                kind = Unavailable if status >= 500 else _BY_STATUS.get(status, FailedPrecondition)
                raise kind(f"{self.url}: {_refusal(response)}")
        return response

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except requests.RequestException as error:
            raise Unavailable(f"{self.url}: {_bottom(error)}") from error


class _Bearer(AuthBase):
    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _auth(credentials: Credentials) -> AuthBase | None:
    if credentials.token:
        return _Bearer(credentials.token)
    if credentials.username:
        return HTTPBasicAuth(credentials.username, credentials.password)
    return None


class _Refusal(Reply):
    message: str


def _refusal(response: requests.Response) -> str:
    """MLflow's own words; the status where it has none."""
    try:
        text = _Refusal.model_validate_json(response.content).message
    except (ValidationError, requests.RequestException):
        text = f"answered {response.status_code} {response.reason}"
    return " ".join(text.split())[:_LONGEST_REASON]


def _bottom(error: BaseException) -> str:
    """What lies at the bottom of a failed request: "Connection refused", not where in the code."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
