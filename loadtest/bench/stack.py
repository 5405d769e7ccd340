"""Our stack through its ingress: every step in the replica, or each in a deployment of its own."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from loadtest.bench.cpu import MARKER
from loadtest.bench.variants import Start
from serving.cli.local_stack import local_stack
from serving.settings import PlacementSettings

# The limits on calls in flight are for overload; this is about work.
_MOST_IN_FLIGHT = 512
_LIMITS = {
    "CARTWRIGHT_SERVER__ADMISSION__MAX_IN_FLIGHT": str(_MOST_IN_FLIGHT),
    "CARTWRIGHT_SERVER__ADMISSION__MIN_IN_FLIGHT": str(_MOST_IN_FLIGHT),
    "CARTWRIGHT_TRITON__COALESCING__MAX_WAITING": str(_MOST_IN_FLIGHT),
    "CARTWRIGHT_DEPLOYMENTS__AGENT__MAX_ONGOING_REQUESTS": str(_MOST_IN_FLIGHT + 128),
    "CARTWRIGHT_DEPLOYMENTS__STEP__MAX_ONGOING_REQUESTS": str(_MOST_IN_FLIGHT + 128),
    "CARTWRIGHT_DEPLOYMENTS__STEP__MAX_QUEUED_REQUESTS": str(2 * _MOST_IN_FLIGHT),
}
INLINE: Mapping[str, str] = {}
# Behind a model that answers at once, a second batch under way only makes both smaller.
ONE_AT_A_TIME: Mapping[str, str] = {"CARTWRIGHT_TRITON__COALESCING__MAX_UNDER_WAY": "1"}
DEPLOYMENTS: Mapping[str, str] = {
    f"CARTWRIGHT_PLACEMENT__{step.upper()}": "deployment" for step in PlacementSettings.model_fields
}


def settings_of(
    repository: Path, shop: Path, placement: Mapping[str, str], *, limited: bool = False
) -> dict[str, str]:
    """The settings that a measured stack differs in from the defaults.

    Args:
        repository: of the models.
        shop: the shop's data.
        placement: of the steps.
        limited: whether the limits on calls in flight stay, for overload.
    """
    return {
        "CARTWRIGHT_TRITON__MODEL_REPOSITORY": str(repository.absolute()),
        "CARTWRIGHT_STORES__SHOP": str(shop.absolute()),
        **({} if limited else _LIMITS),
        **placement,
    }


def starts_stack(settings: Mapping[str, str], folder: Path) -> Start:
    """Starts a stack with these settings; its logs go below `folder`."""

    @contextmanager
    def start(mark: str) -> Iterator[str]:
        own = {
            "CARTWRIGHT_TRITON__LOG_FOLDER": str((folder / "log").absolute()),
            MARKER: mark,
        }
        with local_stack({**settings, **own}) as stack:
            yield stack.address

    return start
