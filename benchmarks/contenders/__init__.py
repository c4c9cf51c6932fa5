"""One file each: what forwards the records in benchmarks/forwarding.py, in its own process.

Each reads a Job from standard input and prints one line of JSON when the last commit is
acknowledged. They differ in what moves the records, not in what is done to them.
"""
