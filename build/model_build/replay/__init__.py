"""Recorded requests through two versions of a model: where they disagree, and how fast each is.

records ─▶ replay (both versions in turn, on one tritonserver) ─▶ pairs of answers ─▶ ReplayResult
                                                 table, replay.json, replay.html ◀────────┘
"""
