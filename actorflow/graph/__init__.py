"""Declare: what users write, pure, checked before it runs."""
