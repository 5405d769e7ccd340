"""For every test: an environment without the settings of whoever runs it."""

import os

import hypothesis
import pytest

from serving.settings import ENV_PREFIX

# How long an example takes says more of the machine than of the code.
hypothesis.settings.register_profile("cartwright", deadline=None)
hypothesis.settings.load_profile("cartwright")


@pytest.fixture(autouse=True, scope="session")
def _clean_environment() -> None:
    for name in list(os.environ):
        if name.startswith(ENV_PREFIX):
            del os.environ[name]
