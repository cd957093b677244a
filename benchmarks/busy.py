"""How a decode fares beside other processes.

On a machine whose cores are taken, threads that spin while they wait for each other cost a multiple of their share. For
each engine this decodes one 768x512 picture again and again, alone, and then beside --others processes that do the same
with the same engine, and prints both medians and their ratio. Beside two others on two cores three times as long is
a fair share; more than four times is a fault.

The load is made here, so run it on a machine that is idle but for that: "before" and "after" are the times alone at the
start and at the end, and tell whether it was.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import time
from typing import Any

from _pictures import fitted, nine_groups, photograph


def decode_until(stop: Any, ready: Any, data: bytes, engine: str) -> None:
    """What the other processes do."""
    import ssic

    ssic.decode(data, engine=engine)
    ready.release()
    while not stop.is_set():
        ssic.decode(data, engine=engine)


def median(data: bytes, engine: str, runs: int) -> float:
    """Seconds of a decode."""
    import ssic

    ssic.decode(data, engine=engine)
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        ssic.decode(data, engine=engine)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def measure(engine: str, data: bytes, others: int, runs: int) -> dict[str, float]:
    """Seconds alone, beside others, and alone again."""
    spawn = multiprocessing.get_context("spawn")
    stop, ready = spawn.Event(), spawn.Semaphore(0)
    before = median(data, engine, runs)
    beside = [spawn.Process(target=decode_until, args=(stop, ready, data, engine)) for _ in range(others)]
    for process in beside:
        process.start()
    try:
        for _ in beside:
            ready.acquire()
        load = os.getloadavg()[0]
        busy = median(data, engine, runs)
    finally:
        stop.set()
        for process in beside:
            process.join()
    after = median(data, engine, runs)
    return {
        "before": before,
        "busy": busy,
        "after": after,
        "ratio": busy / min(before, after),
        "load": load,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engines", nargs="+", default=["onnx", "torch:cpu:float32", "torch:cpu"])
    parser.add_argument("--others", type=int, default=2, help="processes beside the one measured")
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()

    import ssic

    data = ssic.encode(fitted(photograph(), 768, 512), nine_groups(768, 512))
    results = {e: measure(e, data, options.others, options.runs) for e in options.engines}
    if options.json:
        print(json.dumps({"others": options.others, "cores": os.cpu_count(), "results": results}))
        return
    print(f"decode 768x512, seconds; {os.cpu_count()} cores, {options.others} other processes decoding")
    for engine, r in results.items():
        print(
            f"{engine:20} alone {r['before']:.3f} / {r['after']:.3f}, beside them {r['busy']:.3f}: "
            f"{r['ratio']:.1f} times"
        )


if __name__ == "__main__":
    main()
