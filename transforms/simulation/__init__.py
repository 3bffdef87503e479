"""Invented retail customers and the files that eleven channels would send about them.

Pure like the rest of `transforms`: frames in, frames out. Every choice is a hash of the seed, what is chosen and for
whom, so the same plan gives the same rows on any number of cores. `jobs/generate.py` writes the files.
"""
