"""For every test: an environment without the settings of whoever runs it."""

import os

import pytest

from serving.settings import ENV_PREFIX


@pytest.fixture(autouse=True, scope="session")
def _clean_environment() -> None:
    for name in list(os.environ):
        if name.startswith(ENV_PREFIX):
            del os.environ[name]
