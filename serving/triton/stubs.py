"""Watch over the stub processes in which a tritonserver's Python backend runs models.

When a stub is killed (by the kernel for want of memory, say) the server neither replaces it nor
stops calling its model ready: each request then fails after a second. Only the process table tells.
"""

import contextlib
from pathlib import Path

import psutil


class StubWatch:
    """Knows which child of a server runs which model."""

    def __init__(self, server_pid: int, model_repository: Path) -> None:
        self._server_pid = server_pid
        self._model_repository = model_repository
        self._models: dict[int, str] = {}

    def look(self) -> None:
        """Finds the children; to be called after every load."""
        self._models = self._children()

    def processes(self, model: str) -> list[int]:
        """Process ids of a model's stubs, as of the last `look`."""
        return [pid for pid, name in self._models.items() if name == model]

    def kill(self, model: str) -> None:
        """Ends the stubs of a model that was unloaded, should the server have forgotten some.

        It does when it could not load a model again of which it had some instances.
        """
        for pid, name in self._children().items():
            if name == model:
                with contextlib.suppress(psutil.NoSuchProcess):
                    psutil.Process(pid).kill()

    def dead(self) -> set[str]:
        """Models that lost a stub since the last `look`; names each loss once.

        A stub that ends as it should, with its model, is reaped by the server at once; a zombie is
        one that the server has not noticed.
        """
        lost = set()
        for pid, model in list(self._models.items()):
            try:
                if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                    continue
                lost.add(model)
            except psutil.NoSuchProcess:
                pass
            del self._models[pid]
        return lost

    def _children(self) -> dict[int, str]:
        """Model by process id."""
        models = {}
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self._server_pid).children():
                with contextlib.suppress(psutil.NoSuchProcess):
                    model = self._model_of(child.cmdline())
                    if model:
                        models[child.pid] = model
        return models

    def _model_of(self, command_line: list[str]) -> str:
        """The model that a stub was started for; the path of its file is the first argument."""
        if len(command_line) < 2:
            return ""
        path = Path(command_line[1])
        if not path.is_relative_to(self._model_repository):
            return ""
        return path.relative_to(self._model_repository).parts[0]
