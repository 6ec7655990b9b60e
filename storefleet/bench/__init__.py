"""The benchmark: every figure beside its baseline from the same run, on the same machine, with its shape stated."""
