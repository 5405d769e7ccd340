"""Files of model versions against the digests in their manifests."""

from pathlib import Path

from serving.errors import StartupError
from serving.models.repository import ModelRepository
from serving.models.version import ModelVersion

# Of each file: name, size, time of the last change, inode.
_Signature = tuple[tuple[str, int, int, int], ...]


class VerifiedModels:
    """Compares a model's files before they are served.

    Reading hundreds of megabytes would be most of a restart or a promotion, so that a version whose
    files are still the ones that were compared is not read again.
    """

    def __init__(self, models: ModelRepository) -> None:
        self._models = models
        self._verified: dict[Path, _Signature] = {}

    def verify(self, wanted: ModelVersion) -> None:
        """Compares a version; reads its files, so call it in a thread.

        Raises:
            StartupError: it is not published, or a file is missing, changed or unreadable.
        """
        version = self._models.version(*wanted)
        try:
            signature = _signature(version.folder)
            if self._verified.get(version.folder) == signature:
                return
            version.verify()
        except OSError as error:
            raise StartupError(f"model {wanted}: its files cannot be read: {error}") from error
        self._verified[version.folder] = signature


def _signature(folder: Path) -> _Signature:
    stats = ((path.name, path.stat()) for path in sorted(folder.iterdir()))
    return tuple((name, s.st_size, s.st_mtime_ns, s.st_ino) for name, s in stats)
