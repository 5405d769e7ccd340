"""A result as one HTML page that needs nothing but itself; the template escapes every text."""

from pathlib import Path

import jinja2

from model_build.replay.result import ReplayResult

_TEMPLATE = "page.html"


def render(result: ReplayResult) -> str:
    """The page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(_TEMPLATE).render(
        result=result, sides=(result.first, result.second)
    )
