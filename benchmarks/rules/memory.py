"""What one contender keeps in memory, as the growth of a process that has nothing else.

`python -m benchmarks.rules.memory NAME RULES CASES` prints bytes; a process of its own for each,
because zen's memory is not Python's and what was freed before would hide it.
"""

import gc
import sys
import tempfile
from pathlib import Path

from benchmarks.rules import contenders, tables

MEASURED = (contenders.OURS, contenders.ZEN, contenders.ZEN_ONE, contenders.ZEN_EXPRESSION)


def resident() -> int:
    """Bytes of this process in memory, by the kernel's count."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no VmRSS")


def growth(contender: contenders.Contender, rules: int, cases: int) -> int:
    """Bytes after the table is ready and has decided, less those before."""
    rows = tables.table(rules)
    facts = [facts for facts, _ in tables.cases(rows, cases)]
    with tempfile.TemporaryDirectory() as folder:
        # Everything that is loaded once, whatever the size of the table, goes first.
        small = tables.table(tables.ROWS_PER_SERVICE)
        contender.start(small, Path(folder) / "small")(tables.cases(small, 1)[0][0])
        gc.collect()
        before = resident()
        decide = contender.start(rows, Path(folder) / "whole")
        for one in facts:
            decide(one)
        gc.collect()
        return resident() - before


if __name__ == "__main__":
    (found,) = (one for one in MEASURED if one.name == sys.argv[1])
    print(growth(found, int(sys.argv[2]), int(sys.argv[3])))
