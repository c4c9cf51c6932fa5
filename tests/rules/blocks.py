"""How many random rule sets are tried: all of them with `make test-rules`, else a fifth."""

import os

FULL = os.environ.get("CASEBUS_RULES") == "full"


def blocks(of: int) -> range:
    """The numbers of the blocks to try, of so many in full. The first ones are always among them,
    so what failed in the short form fails in the full one."""
    return range(of if FULL else (of + 4) // 5)
