"""Where the work is done: in this process, in processes of this machine, or on a Ray cluster."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from ssic.batch.jobs import Job
from ssic.batch.records import Record, as_line, from_line
from ssic.batch.work import Work
from ssic.engine.threads import available_threads
from ssic.imports import optional

AHEAD = 2
"""Jobs handed out per worker: one at work, one waiting."""

Stopped = Callable[[], bool]
"""Whether to finish the pictures at hand and begin no others."""


def _never() -> bool:
    return False


def default_workers(files: int, most: int | None = None) -> int:
    """A worker per core: the networks share a picture's work among threads, but coding its symbols, and reading and
    writing files, can't. And one per four files at most: starting one takes as long as a picture or two.

    Args:
        most: that a device which they share has room for.
    """
    return max(1, min(available_threads(), files // 4, *([] if most is None else [most])))


def run_here(jobs: Iterable[Job], work: Work, workers: int, stopped: Stopped = _never) -> Iterator[Record]:
    """Run in `workers` processes, or in this one if that is 1; records come in the order in which they end.

    However many jobs there are, `AHEAD` per worker are out at a time, and a picture is in memory only where it is
    encoded. A worker that dies (killed for its memory) costs the picture at which it dies twice. Once it is `stopped`,
    the records of the pictures at hand still come.
    """
    if workers == 1:
        for job in jobs:
            if stopped():
                return
            yield work(job)
        return
    waiting, alone = iter(jobs), list[Job]()
    while True:
        try:
            yield from _in_pool(waiting, work, workers, alone, stopped)
            break
        except BrokenProcessPool:
            # One of these killed its worker, and the pool with it. Each gets a pool of its own.
            for job in alone:
                try:
                    yield from _in_pool(iter([job]), work, 1, [], stopped)
                except BrokenProcessPool:
                    yield work.failed(
                        job, "the process died twice at this picture, perhaps for lack of memory"
                    )
            alone.clear()


def _in_pool(
    jobs: Iterator[Job], work: Work, workers: int, lost: list[Job], stopped: Stopped
) -> Iterator[Record]:
    """Raises BrokenProcessPool, with the jobs that were out in `lost`."""
    threads = max(1, available_threads() // workers)
    out: dict[Future[Record], Job] = {}
    pool = new_pool(workers)
    try:
        more = True
        while more or out:
            if stopped():
                more = False
                for future in [future for future in out if future.cancel()]:
                    del out[future]
            while more and len(out) < AHEAD * workers:
                job = next(jobs, None)
                if job is None:
                    more = False
                else:
                    # Noted first: where submitting fails, the job is not lost.
                    lost.append(job)
                    with starting(threads):  # the first starts the processes
                        future = pool.submit(work, job)
                    out[future] = lost.pop()
            if not out:
                break
            for done in wait(out, return_when=FIRST_COMPLETED).done:
                record = done.result()
                del out[done]
                yield record
    except BrokenProcessPool:
        lost.extend(out.values())
        raise
    except KeyboardInterrupt:
        # The workers don't hear it: they finish the pictures at hand, and what they did shall be on record.
        pool.shutdown(wait=True, cancel_futures=True)
        yield from (done.result() for done in out if not done.cancelled())
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def new_pool(workers: int) -> ProcessPoolExecutor:
    """A pool of processes; jobs are submitted to it within `starting`."""
    # Spawned, because a process that has run threads of its libraries can't be forked safely.
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin_worker)


@contextmanager
def starting(threads: int) -> Iterator[None]:
    """Processes started here have so many threads, and don't hear Ctrl-C, not even before they can say so themselves;
    here it waits. The libraries read the number when they are loaded, so it must be in the environment before."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, str(threads)))
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if sys.platform != "win32" else None
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        if sys.platform != "win32" and masked is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, masked)


_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def _begin_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ends this process once the one that started it was killed: a pool's workers would wait for jobs for ever. What
    is at work ends with it: outputs are whole or not there, and nobody is left to record them."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def run_on_ray(
    jobs: Iterable[Job],
    work: Work,
    workers: int | None,
    stopped: Stopped = _never,
    *,
    gpu: bool = False,
) -> Iterator[Record]:
    """Run as tasks on the cluster that Ray finds (`RAY_ADDRESS`), or on one of its own here. Records come in the order
    in which they end. A worker that dies costs the picture at which it dies twice; once it is `stopped`, the records
    of the pictures at hand still come.

    Paths must mean the same on every node: a shared file system.

    Args:
        workers: tasks at a time; by default as many as the cluster has cores.
        gpu: each task needs one.

    Raises:
        InvalidInput: Ray is not installed.
    """
    ray = optional("ray", "ray", purpose="--runner ray")
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    needs: dict[str, Any] = {"num_cpus": 1, "max_retries": 1} | ({"num_gpus": 1} if gpu else {})
    task = ray.remote(**needs)(_on_ray)
    shared = ray.put(pickle.dumps(work))
    most = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
    jobs = iter(jobs)
    out: dict[Any, Job] = {}
    more = True
    while more or out:
        more = more and not stopped()
        while more and len(out) < most:
            job = next(jobs, None)
            if job is None:
                more = False
            else:
                out[task.remote(shared, pickle.dumps(job))] = job
        if out:
            for done in ray.wait(list(out))[0]:
                job = out.pop(done)
                try:
                    yield from_line(ray.get(done))
                except ray.exceptions.RayError as error:  # the work itself makes records of its errors
                    reason = str(error).strip().splitlines() or [type(error).__name__]
                    yield work.failed(job, f"Ray lost it twice: {reason[0][:200]}")


def _on_ray(work: bytes, job: bytes) -> str:
    """A task: the record of a job."""
    return as_line(pickle.loads(work)(pickle.loads(job)))
