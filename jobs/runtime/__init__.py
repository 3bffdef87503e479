"""Everything impure, and only here: session, settings, tables, landing files, clock, run log."""
