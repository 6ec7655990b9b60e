"""What a benchmark runs in a fresh process, so that its memory and its time are its own.

Each reads one task, a JSON object, on standard input, and writes one result, a JSON object, on standard output;
:mod:`storefleet.bench.crew` runs it.
"""
