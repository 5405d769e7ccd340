"""Puts versions into a model repository: whole or not at all, and never over another one.

A version is written into a folder whose name begins with a dot, which neither Triton nor
`serving.models.repository` takes for a version; only when everything is on disk is it renamed to
the next number. A build that dies leaves such a draft, and the next build removes it.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.errors import StartupError
from serving.models.manifest import ModelManifest
from serving.models.repository import ModelRepository

_DRAFT_PREFIX = ".new-"


@contextmanager
def locked(repository: Path) -> Iterator[None]:
    """Keeps other builds out of the repository; the lock ends with the process at the latest.

    Raises:
        StartupError: another build works there, or the folder cannot be made or read.
    """
    try:
        repository.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(repository, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise StartupError(f"{repository}: cannot be used: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StartupError(f"{repository}: another build is under way there") from error
        yield
    finally:
        os.close(descriptor)


def remove_leftovers(repository: Path) -> list[Path]:
    """Removes drafts of dead builds; call it under the lock. Returns what was removed."""
    removed = []
    for draft in sorted(repository.glob(f"*/{_DRAFT_PREFIX}*")):
        shutil.rmtree(draft)
        removed.append(draft)
    return removed


def publish(
    repository: Path, model: str, fill: Callable[[Path, int], ModelManifest]
) -> ModelManifest:
    """Publishes the next version of a model; call it under the lock.

    Args:
        repository: root of the repository.
        model: its name.
        fill: writes all files but the manifest into the given folder, for the given version number,
            and returns the manifest.

    Raises:
        StartupError: the repository cannot be written; names the path and the reason.
    """
    folder = repository / model
    draft: Path | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=_DRAFT_PREFIX, dir=folder))
        version = max(ModelRepository(repository).versions(model), default=0) + 1
        manifest = fill(draft, version)
        manifest.write(draft)
        draft.chmod(0o755)
        for path in draft.iterdir():
            path.chmod(0o644)
            _sync(path)
        _sync(draft)
        draft.rename(folder / str(version))
        draft = None
        _sync(folder)
    except OSError as error:
        # A copy that fails names its source first.
        where = error.filename2 or error.filename or folder
        raise StartupError(f"{where}: cannot be written: {error.strerror or error}") from error
    finally:
        if draft is not None:
            # Also after Ctrl-C; whatever cannot be removed now is left to the next build.
            shutil.rmtree(draft, ignore_errors=True)
    return manifest


def find_build(repository: Path, model: str, build_key: str) -> int | None:
    """The newest version with this key, whose files are all there and unchanged in size."""
    known = ModelRepository(repository)
    for version in reversed(known.versions(model)):
        published = known.version(model, version)
        try:
            manifest = published.manifest
        except StartupError:
            # Not one that this build could use; it is left for whoever put it there.
            continue
        if manifest.build_key == build_key and all(
            (published.folder / a.path).is_file()
            and (published.folder / a.path).stat().st_size == a.size_bytes
            for a in manifest.artifacts
        ):
            return version
    return None


def find_same(repository: Path, manifest: ModelManifest) -> int | None:
    """The newest version whose manifest says the same and whose files are unchanged.

    Number, time of publishing and origin may differ.
    """
    known = ModelRepository(repository)
    for version in reversed(known.versions(manifest.model)):
        published = known.version(manifest.model, version)
        try:
            if _content(published.manifest) == _content(manifest):
                published.verify()
                return version
        except StartupError:
            # Unreadable or damaged: it is published anew, and this one is left to whoever put it
            # there.
            continue
    return None


def publish_again(repository: Path, model: str, version: int, now_ms: int) -> ModelManifest:
    """Publishes an older version as the next one, without training.

    Its files are linked, or copied where the file system cannot link.
    """
    source = ModelRepository(repository).version(model, version)
    source.verify()

    def fill(draft: Path, number: int) -> ModelManifest:
        for artifact in source.manifest.artifacts:
            _link_or_copy(source.folder / artifact.path, draft / artifact.path)
        return source.manifest.model_copy(update={"version": number, "published_at_ms": now_ms})

    return publish(repository, model, fill)


def _content(manifest: ModelManifest) -> ModelManifest:
    return manifest.model_copy(update={"version": 0, "published_at_ms": 0, "origin": None})


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def _sync(path: Path) -> None:
    """Makes a file, or the names in a folder, survive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
