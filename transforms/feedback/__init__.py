"""What customers say: rules -> reading of a text -> opinions of events -> topics by product, a file each."""

from __future__ import annotations
