"""Many files in one run: what is done to each (`Work`), where it is done, and the list of what is done.

A `Work` is a function, `Job` in, `Record` out, that never raises on account of a picture: `Encoder`, `Decoder`,
`Sealer`. `run_here` runs it in processes of this machine, `run_on_ray` on a Ray cluster. The records lie, a line of
JSON each, in a file in the folder of the outputs; with it a later run knows what is done, and by checksums whether it
still holds.
"""

from __future__ import annotations

from ssic.batch.decoder import Decoder, DecodeRecipe
from ssic.batch.encoder import Encoder, Recipe
from ssic.batch.jobs import (
    CODED,
    SUFFIXES,
    Found,
    Job,
    earlier_root,
    elsewhere,
    find_files,
    find_jobs,
    find_pictures,
)
from ssic.batch.records import RECORDS, Record, appending, as_line, from_line, read_records
from ssic.batch.runners import AHEAD, default_workers, new_pool, run_here, run_on_ray, starting
from ssic.batch.sealer import Sealer, SealRecipe
from ssic.batch.work import Made, Work

__all__ = [
    "AHEAD",
    "CODED",
    "RECORDS",
    "SUFFIXES",
    "DecodeRecipe",
    "Decoder",
    "Encoder",
    "Found",
    "Job",
    "Made",
    "Recipe",
    "Record",
    "SealRecipe",
    "Sealer",
    "Work",
    "appending",
    "as_line",
    "default_workers",
    "earlier_root",
    "elsewhere",
    "find_files",
    "find_jobs",
    "find_pictures",
    "from_line",
    "new_pool",
    "read_records",
    "run_here",
    "run_on_ray",
    "starting",
]
