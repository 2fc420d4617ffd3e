"""Cookies: the names of jobs."""

from __future__ import annotations

import os


def random_cookie() -> int:
    """A positive number below 2^53, which JSON and JavaScript carry whole, that nobody can guess."""
    return int.from_bytes(os.urandom(7), "big") >> 3 or 1
