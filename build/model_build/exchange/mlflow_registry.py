"""An MLflow model registry, by the documented REST API of its server."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from model_build.exchange.mlflow_files import RemoteFolder
from model_build.exchange.mlflow_http import Credentials, MlflowHttp, Reply
from model_build.exchange.mlflow_uri import MlflowUri
from serving.errors import FailedPrecondition, InvalidRequest, NotFound

_API = "/api/2.0/mlflow"


@dataclass(frozen=True, kw_only=True)
class RegisteredVersion:
    """One version of a registered model."""

    name: str
    version: int
    # Empty if it was registered without a run.
    run_id: str

    def __str__(self) -> str:
        return str(MlflowUri(name=self.name, version=self.version))


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run of an experiment; what it logs lies in `artifacts`."""

    run_id: str
    artifacts: RemoteFolder


class MlflowRegistry:
    """One server."""

    def __init__(self, url: str, credentials: Credentials) -> None:
        """Connects with the first call.

        Raises:
            InvalidRequest: see `MlflowHttp`.
        """
        self._http = MlflowHttp(url, credentials)
        self.url = self._http.url

    def find(self, uri: MlflowUri) -> RegisteredVersion:
        """The version that `uri` means now.

        Raises:
            NotFound: there is no such model or version.
            FailedPrecondition: the alias is not set, or the version not ready in the registry.
            InvalidRequest: `uri` has neither alias nor version.
            CartwrightError: see `mlflow_http`.
        """
        if uri.alias is not None:
            found = self._http.get(
                _VersionReply, f"{_API}/registered-models/alias", name=uri.name, alias=uri.alias
            )
        elif uri.version is not None:
            found = self._http.get(
                _VersionReply, f"{_API}/model-versions/get", name=uri.name, version=str(uri.version)
            )
        else:
            raise InvalidRequest("URI", f"which version? say {uri}@ALIAS or {uri}/VERSION")
        return _registered(self.url, found.model_version)

    def artifacts(self, version: RegisteredVersion) -> RemoteFolder:
        """The files of a version.

        Raises:
            FailedPrecondition: they do not come through the server.
            CartwrightError: see `mlflow_http`.
        """
        reply = self._http.get(
            _UriReply,
            f"{_API}/model-versions/get-download-uri",
            name=version.name,
            version=str(version.version),
        )
        return RemoteFolder(self._http, reply.artifact_uri)

    def start_run(self, experiment: str, run_name: str, now_ms: int) -> Run:
        """Starts a run; makes the experiment if there is none of that name.

        Raises:
            CartwrightError: see `mlflow_http`.
        """
        reply = self._http.post(
            _RunReply,
            f"{_API}/runs/create",
            {
                "experiment_id": self._experiment_id(experiment),
                "run_name": run_name,
                "start_time": now_ms,
            },
        )
        info = reply.run.info
        return Run(run_id=info.run_id, artifacts=RemoteFolder(self._http, info.artifact_uri))

    def log(
        self, run: Run, metrics: Mapping[str, float], parameters: Mapping[str, str], now_ms: int
    ) -> None:
        """Writes figures and parameters of a run.

        Raises:
            CartwrightError: see `mlflow_http`.
        """
        self._http.post(
            Reply,
            f"{_API}/runs/log-batch",
            {
                "run_id": run.run_id,
                "metrics": [
                    {"key": key, "value": value, "timestamp": now_ms, "step": 0}
                    for key, value in metrics.items()
                ],
                "params": _pairs(parameters),
            },
        )

    def end_run(self, run: Run, *, succeeded: bool, now_ms: int) -> None:
        """Ends a run.

        Raises:
            CartwrightError: see `mlflow_http`.
        """
        status = "FINISHED" if succeeded else "FAILED"
        self._http.post(
            Reply,
            f"{_API}/runs/update",
            {"run_id": run.run_id, "status": status, "end_time": now_ms},
        )

    def register(self, name: str, run: Run, tags: Mapping[str, str]) -> RegisteredVersion:
        """Makes the artifacts of a run the next version of a model, which is made if need be.

        Raises:
            CartwrightError: see `mlflow_http`.
        """
        try:
            self._http.get(Reply, f"{_API}/registered-models/get", name=name)
        except NotFound:
            self._http.post(Reply, f"{_API}/registered-models/create", {"name": name})
        reply = self._http.post(
            _VersionReply,
            f"{_API}/model-versions/create",
            {
                "name": name,
                "source": run.artifacts.uri,
                "run_id": run.run_id,
                "tags": _pairs(tags),
            },
        )
        return _registered(self.url, reply.model_version)

    def set_alias(self, alias: str, version: RegisteredVersion) -> None:
        """Lets an alias mean this version from now on.

        Raises:
            CartwrightError: see `mlflow_http`.
        """
        self._http.post(
            Reply,
            f"{_API}/registered-models/alias",
            {"name": version.name, "alias": alias, "version": str(version.version)},
        )

    def _experiment_id(self, name: str) -> str:
        try:
            found = self._http.get(
                _ExperimentReply, f"{_API}/experiments/get-by-name", experiment_name=name
            )
        except NotFound:
            made = self._http.post(_Experiment, f"{_API}/experiments/create", {"name": name})
            return made.experiment_id
        return found.experiment.experiment_id


class _Version(Reply):
    name: str
    version: int
    run_id: str = ""
    status: str = "READY"


class _VersionReply(Reply):
    model_version: _Version


class _UriReply(Reply):
    artifact_uri: str


class _Experiment(Reply):
    experiment_id: str


class _ExperimentReply(Reply):
    experiment: _Experiment


class _RunInfo(Reply):
    run_id: str
    artifact_uri: str


class _RunBody(Reply):
    info: _RunInfo


class _RunReply(Reply):
    run: _RunBody


def _registered(url: str, found: _Version) -> RegisteredVersion:
    version = RegisteredVersion(name=found.name, version=found.version, run_id=found.run_id)
    if found.status != "READY":
        raise FailedPrecondition(f"{url}: {version} is {found.status}, not READY")
    return version


def _pairs(values: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"key": key, "value": value} for key, value in values.items()]
