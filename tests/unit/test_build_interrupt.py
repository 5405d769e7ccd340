"""Ctrl-C ends long work even where the exception itself was swallowed."""

import contextlib
import signal

import pytest

from model_build.interrupt import Interrupt, Stoppable
from model_build.progress import Silent


def test_an_interrupt_that_was_swallowed_is_raised_at_the_next_item() -> None:
    seen = []
    with Interrupt() as interrupt, pytest.raises(KeyboardInterrupt):
        for item in Stoppable(Silent(), interrupt).track(range(5), "work", 5):
            seen.append(item)
            if item == 1:
                # As the import of a library may do.
                with contextlib.suppress(BaseException):
                    signal.raise_signal(signal.SIGINT)
    assert seen == [0, 1]


def test_afterwards_the_former_handler_is_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupt() as interrupt:
        interrupt.check()
    assert signal.getsignal(signal.SIGINT) is before
