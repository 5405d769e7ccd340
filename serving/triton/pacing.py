"""Lets processes that tritonserver starts begin a little at a time, while others answer.

The processes do it themselves (`backends/onnxruntime/paced_start.py`); here they are told.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from serving.triton.shared_memory import start_share_file

logger = logging.getLogger(__name__)


@contextmanager
def paced_starts(prefix: str, share: float) -> Iterator[None]:
    """Gives the processes that a server starts within the block a share of a core each.

    Args:
        prefix: of the server's regions in shared memory, by which its processes know it.
        share: of one core; 1.0 lets them start as fast as they can.
    """
    file = start_share_file(prefix)
    try:
        if share < 1.0:
            file.write_text(f"{share:g}", encoding="utf-8")
    except OSError as error:
        # A load does not fail for want of manners.
        logger.error("versions start at full speed: %s: %s", file, error)  # noqa: TRY400 - the text says it all
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
