"""Decide: what happens next, as pure functions over records."""
