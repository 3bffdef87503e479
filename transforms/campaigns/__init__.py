"""What campaigns brought: rules -> attribution of orders to touches -> results -> reviews, a file each."""

from __future__ import annotations
