"""Threads that help a calling one."""

from __future__ import annotations

import threading
import time

import pytest

from ssic.workers import Workers


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 40])
def test_results_come_in_the_order_of_the_parts(threads: int, count: int) -> None:
    def slow_first(number: int) -> int:
        time.sleep(0.002 * (number == 0))
        return number**2

    assert Workers().map(slow_first, range(count), threads) == [n**2 for n in range(count)]


def test_the_calling_thread_takes_part_and_others_do() -> None:
    barrier = threading.Barrier(2)

    def wait(_: int) -> str:
        barrier.wait(60)  # it takes two threads to get over it
        return threading.current_thread().name

    names = Workers().map(wait, range(2), 2)
    assert threading.current_thread().name in names
    assert len(set(names)) == 2


def test_no_more_threads_than_asked_for() -> None:
    lock, inside, most = threading.Lock(), 0, 0

    def count(_: int) -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        time.sleep(0.001)
        with lock:
            inside -= 1

    Workers().map(count, range(40), 3)
    assert most <= 3


def test_a_call_does_not_wait_for_threads_that_are_busy_elsewhere() -> None:
    """The one helper that there may be is at work for another call, which ends when this one has."""
    workers, done = Workers(most=1), threading.Event()
    busy = workers.submit(done.wait, 60)
    assert workers.map(lambda number: number + 1, range(9), 3) == list(range(1, 10))
    done.set()
    assert busy.result()


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_ends_the_rest(threads: int) -> None:
    begun: list[int] = []

    def fail(number: int) -> None:
        begun.append(number)
        time.sleep(0.002)
        if number == 2:
            raise IndexError("the third")  # as a queue that is empty would

    with pytest.raises(IndexError, match="the third"):
        Workers().map(fail, range(500), threads)
    assert len(begun) < 20


def test_calls_within_calls_end() -> None:
    workers = Workers(most=2)

    def inner(number: int) -> int:
        return sum(workers.map(lambda n: n * number, range(4), 3))

    assert workers.map(inner, range(6), 3) == [6 * n for n in range(6)]
