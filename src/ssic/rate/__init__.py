"""Qualities that meet a target: the search, and the targets that feed it."""
