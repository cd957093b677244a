"""Measuring: rate-distortion against other codecs, and the bytes of sending a part. `docs/eval.md` defines it all.

`rd` and `selective` measure and return plain dictionaries; `report` makes tables of them, `plot` pictures.
"""
