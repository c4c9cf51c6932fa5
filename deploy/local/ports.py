"""Free ports on this machine: the usual one where nobody else is, else any."""

import contextlib
import socket
from collections.abc import Callable, Mapping


def choose(usual: Mapping[str, int], told: Callable[[str], None]) -> dict[str, int]:
    """A free port for each name; `told` hears of each that is not the usual one."""
    found: dict[str, int] = {}
    with contextlib.ExitStack() as held:
        for name, port in usual.items():
            # Held until all are chosen, so that no two get the same.
            found[name] = _hold(held, port) or _hold(held, 0)
            if found[name] != port:
                told(f"port {port} is taken by another program; {name} is on {found[name]} instead")
    return found


def _hold(held: contextlib.ExitStack, port: int) -> int:
    """The port, held; 0 when it is taken."""
    one = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        one.bind(("127.0.0.1", port))
        one.listen(1)
    except OSError:
        return 0
    return int(one.getsockname()[1])
