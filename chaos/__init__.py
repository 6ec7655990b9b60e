"""Hop proxies and faults, one fault a file: every network leg of a lab goes through one, so that any leg can be broken.

Chaos knows hops and packets, never stages. A fault is added to, changed on and lifted from live connections: no
reconnect, no byte lost. ``python -P -m chaos`` serves the hops that its options name.
"""
