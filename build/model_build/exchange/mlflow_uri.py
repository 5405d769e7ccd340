"""`mlflow:/NAME@ALIAS` and `mlflow:/NAME/VERSION`: a model in an MLflow model registry."""

import re
from dataclasses import dataclass
from typing import Self

from serving.errors import InvalidRequest

PREFIX = "mlflow:"
# MLflow keeps `/` and `:` out of names, and all but word characters and `-` out of aliases.
_FORM = re.compile(r"mlflow:/(?P<name>[^/:@]+)(?:@(?P<alias>[\w-]+)|/(?P<version>[1-9]\d{0,8}))?")


@dataclass(frozen=True, kw_only=True)
class MlflowUri:
    """A registered model, and at most one of alias and version."""

    name: str
    alias: str | None = None
    version: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `mlflow:/NAME`, `mlflow:/NAME@ALIAS` or `mlflow:/NAME/VERSION`.

        Raises:
            InvalidRequest: it has another form.
        """
        found = _FORM.fullmatch(text)
        if found is None:
            raise InvalidRequest(
                "URI",
                f"must be mlflow:/NAME, mlflow:/NAME@ALIAS or mlflow:/NAME/VERSION, got {text!r}",
            )
        version = found["version"]
        return cls(
            name=found["name"],
            alias=found["alias"],
            version=None if version is None else int(version),
        )

    def __str__(self) -> str:
        text = f"{PREFIX}/{self.name}"
        if self.alias is not None:
            return f"{text}@{self.alias}"
        return text if self.version is None else f"{text}/{self.version}"
