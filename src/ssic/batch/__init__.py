"""Encoding many pictures: a function of one picture that every engine runs, engines, and the list of what is done.

`Encoder` is the function: a `Job` in, a `Record` out, and it never raises on account of a picture. `run_here` runs it
in processes of this machine, `run_on_ray` on a Ray cluster. The records lie, a line of JSON each, in a file in the
folder of the outputs; with it a later run knows what is done, and by checksums whether it still holds.

Nothing here imports NumPy or torch before a picture is encoded: a worker is told first how many threads it has.
"""

from __future__ import annotations

from ssic.batch.encoder import Encoder, Recipe
from ssic.batch.engines import AHEAD, begin_worker, default_workers, run_here, run_on_ray
from ssic.batch.jobs import SUFFIXES, Job, earlier_root, elsewhere, find_jobs, find_pictures
from ssic.batch.records import RECORDS, Record, appending, as_line, from_line, read_records

__all__ = [
    "AHEAD",
    "RECORDS",
    "SUFFIXES",
    "Encoder",
    "Job",
    "Recipe",
    "Record",
    "appending",
    "as_line",
    "begin_worker",
    "default_workers",
    "earlier_root",
    "elsewhere",
    "find_jobs",
    "find_pictures",
    "from_line",
    "read_records",
    "run_here",
    "run_on_ray",
]
