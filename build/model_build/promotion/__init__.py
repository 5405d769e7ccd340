"""Judging a version before and while it goes live."""
