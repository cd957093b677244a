"""Where the pictures are encoded: this process, processes of this machine, or a Ray cluster."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from ssic.batch.encoder import Encoder
from ssic.batch.jobs import Job
from ssic.batch.records import Record, as_line, from_line
from ssic.errors import InvalidInput

AHEAD = 2
"""Jobs handed out per worker: one at work, one waiting."""

Stopped = Callable[[], bool]
"""Whether to finish the pictures at hand and begin no others."""


def _never() -> bool:
    return False


def default_workers() -> int:
    """A worker per two cores: the networks use two threads well, more of them less so."""
    return max(1, (os.cpu_count() or 1) // 2)


def run_here(
    jobs: Iterable[Job], encoder: Encoder, workers: int, stopped: Stopped = _never
) -> Iterator[Record]:
    """Run in `workers` processes, or in this one if that is 1; records come in the order in which they end.

    However many jobs there are, `AHEAD` per worker are out at a time, and a picture is in memory only where it is
    encoded. A worker that dies (killed for its memory) costs the picture at which it dies twice. Once it is `stopped`,
    the records of the pictures at hand still come.
    """
    if workers == 1:
        for job in jobs:
            if stopped():
                return
            yield encoder(job)
        return
    waiting, alone = iter(jobs), list[Job]()
    while True:
        try:
            yield from _in_pool(waiting, encoder, workers, alone, stopped)
            break
        except BrokenProcessPool:
            # One of these killed its worker, and the pool with it. Each gets a pool of its own.
            for job in alone:
                try:
                    yield from _in_pool(iter([job]), encoder, 1, [], stopped)
                except BrokenProcessPool:
                    yield encoder.failed(
                        job, "the process died twice at this picture, perhaps for lack of memory"
                    )
            alone.clear()


def _in_pool(
    jobs: Iterator[Job], encoder: Encoder, workers: int, lost: list[Job], stopped: Stopped
) -> Iterator[Record]:
    """Raises BrokenProcessPool, with the jobs that were out in `lost`."""
    import multiprocessing

    threads = max(1, (os.cpu_count() or 1) // workers)
    out: dict[Future[Record], Job] = {}
    # Spawned, because a process that has run torch's threads can't be forked safely.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), begin_worker, (threads,))
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
                    with _unheard():  # the first starts the processes
                        future = pool.submit(encoder, job)
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


@contextmanager
def _unheard() -> Iterator[None]:
    """Processes started here don't hear Ctrl-C, not even before they can say so themselves; here it waits."""
    import signal

    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def begin_worker(threads: int) -> None:
    """First thing in a worker, before NumPy and torch are there to be told."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)


def run_on_ray(jobs: Iterable[Job], encoder: Encoder, workers: int | None) -> Iterator[Record]:
    """Run as a Ray Data pipeline on the cluster that Ray finds (`RAY_ADDRESS`), or on one of its own here.

    Paths must mean the same on every node: a shared file system.

    Args:
        workers: tasks at a time; as many as Ray thinks fit by default.

    Raises:
        InvalidInput: Ray is not installed.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise InvalidInput('the runner ray needs Ray Data: pip install "ssic[ray]"') from error
    import pickle

    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False

    def encode(row: dict[str, Any]) -> dict[str, Any]:
        return {"record": as_line(encoder(pickle.loads(row["job"])))}

    rows = [{"job": pickle.dumps(job)} for job in jobs]
    options: dict[str, Any] = {} if workers is None else {"concurrency": workers}
    if encoder.recipe.engine.startswith("torch:cuda"):
        options["num_gpus"] = 1
    blocks = max(1, min(len(rows), 4 * (workers or 64)))
    for row in ray.data.from_items(rows, override_num_blocks=blocks).map(encode, **options).iter_rows():
        yield from_line(row["record"])
