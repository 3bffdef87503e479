"""What the numbers mean: pure functions from DataFrames to DataFrames.

No session, no clock, no path and no action lives here; `jobs/` reads, calls and writes.
"""
