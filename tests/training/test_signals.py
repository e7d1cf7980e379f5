"""Ctrl-C and SIGTERM during a training: when they take effect, and what is kept."""

import os
import signal

import pytest

from cxrcad.training import signals as stopping_module
from cxrcad.training.signals import ProcessLost, Stopping, without_interrupts

pytestmark = pytest.mark.usefixtures("interruptible")


def steps(stopping, done, sent):
    """Five steps; the signals of `sent` come in the middle of the step of that number."""
    for number in range(5):
        with stopping.step():
            for one in sent.get(number, ()):
                os.kill(os.getpid(), one)
            done.append(number)


def test_ctrl_c_in_a_step_waits_for_its_end_and_what_was_reached_is_kept():
    done, kept, before = [], [], signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), Stopping(lambda: kept.append(list(done))) as stopping:
        steps(stopping, done, {2: [signal.SIGINT]})
    assert kept == [[0, 1, 2]]
    assert signal.getsignal(signal.SIGINT) is before


def test_the_same_one_again_within_two_seconds_waits_with_it():
    done, kept = [], []
    with pytest.raises(KeyboardInterrupt), Stopping(lambda: kept.append(list(done))) as stopping:
        steps(stopping, done, {2: [signal.SIGINT, signal.SIGINT]})
    assert kept == [[0, 1, 2]]


def test_a_later_one_does_not_wait_and_nothing_of_the_broken_step_is_kept(monkeypatch):
    monkeypatch.setattr(stopping_module, "AGAIN_SECONDS", 0.0)
    done, kept = [], []
    with pytest.raises(KeyboardInterrupt), Stopping(lambda: kept.append(list(done))) as stopping:
        steps(stopping, done, {2: [signal.SIGINT, signal.SIGINT]})
    assert (done, kept) == ([0, 1], [])


def test_one_more_while_the_state_is_kept_does_not_cut_that_short():
    done, kept = [], []

    def keep():
        os.kill(os.getpid(), signal.SIGINT)
        kept.append(list(done))

    with pytest.raises(KeyboardInterrupt), Stopping(keep) as stopping:
        steps(stopping, done, {1: [signal.SIGINT]})
    assert kept == [[0, 1]]


def test_what_was_reached_is_kept_where_a_process_that_draws_is_lost():
    done, kept = [], []

    def train():
        with Stopping(lambda: kept.append(list(done))) as stopping:
            steps(stopping, done, {})
            raise ProcessLost("a process ended")

    with pytest.raises(ProcessLost):
        train()
    assert kept == [[0, 1, 2, 3, 4]]


def test_sigterm_goes_to_who_took_it_before(monkeypatch):
    done, kept = [], []

    def terminate(number, frame):
        done.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        with pytest.raises(KeyboardInterrupt), Stopping(lambda: kept.append(list(done))) as stopping:
            steps(stopping, done, {0: [signal.SIGTERM]})
        assert kept == [[0, signal.SIGTERM]]
        assert signal.getsignal(signal.SIGTERM) is terminate
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_signal_that_is_ignored_stays_so_and_another_error_keeps_nothing():
    done, kept = [], []
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(TypeError), Stopping(lambda: kept.append(done)) as stopping:
            steps(stopping, done, {1: [signal.SIGINT], 4: "no signal"})
    finally:
        signal.signal(signal.SIGINT, before)
    assert (done, kept) == ([0, 1, 2, 3], [])


def test_both_signals_are_held_off_while_processes_start():
    both = {signal.SIGINT, signal.SIGTERM}
    with without_interrupts():
        assert both <= set(signal.pthread_sigmask(signal.SIG_BLOCK, []))
    assert not both & set(signal.pthread_sigmask(signal.SIG_BLOCK, []))
