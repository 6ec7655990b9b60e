"""Judging: a pure function from a :class:`~storefleet.verdict.history.History` to a verdict.

It reads only ledgers and witnesses, so the same checker judges a live run, a recorded run and a hand-written history.
"""
