"""What tests share: pictures, masks, files, servers, commands, and decoders that are written from the documents."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The checkout."""
