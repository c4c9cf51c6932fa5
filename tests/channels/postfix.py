"""A real Postfix with folders and a port of its own, on 127.0.0.1; the machine's is left alone."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

POSTFIX = Path("/usr/sbin/postfix")
# A queue manager that does not wait, and no more services than a relay needs.
_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
smtp unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
tlsmgr unix - - n 1000? 1 tlsmgr
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""
_MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/log/mail.log
maillog_file_prefixes = {folder}
meta_directory = /etc/postfix
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = relay.casebus.example
mydestination =
mynetworks = 127.0.0.0/8
local_recipient_maps =
alias_maps =
alias_database =
smtputf8_enable = no
smtpd_recipient_restrictions = permit_mynetworks, reject
smtpd_relay_restrictions = permit_mynetworks, reject
transport_maps = inline:{{ bounces.casebus.example=smtp:[127.0.0.1]:{bounces} }}
relayhost = [127.0.0.1]:{next_hop}
smtp_host_lookup = native
disable_dns_lookups = yes
minimal_backoff_time = 1s
maximal_backoff_time = 1s
queue_run_delay = 1s
notify_classes =
"""


@contextmanager
def postfix(next_hop: int, bounces: int) -> Iterator[int]:
    """Its port. It passes mail on to `next_hop`, and what comes back to `bounces`."""
    folder = Path(tempfile.mkdtemp(prefix="casebus-postfix-"))
    folder.chmod(0o755)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    for name in ("queue", "data", "log", "etc"):
        (folder / name).mkdir()
    etc = folder / "etc"
    (etc / "main.cf").write_text(_MAIN.format(folder=folder, next_hop=next_hop, bounces=bounces))
    (etc / "master.cf").write_text(_MASTER.format(port=port))
    shutil.chown(folder / "data", "postfix")
    command = [str(POSTFIX), "-c", str(etc)]
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "MAIL_CONFIG": str(etc)}
    try:
        subprocess.run([*command, "start"], env=environment, check=True, capture_output=True)
        _answers(port, folder)
        yield port
    finally:
        subprocess.run([*command, "stop"], env=environment, check=False, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


def _answers(port: int, folder: Path) -> None:
    deadline = time.monotonic() + 15
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as link:
                if link.recv(100).startswith(b"220"):
                    return
        except OSError:
            pass
        if time.monotonic() > deadline:
            log = folder / "log" / "mail.log"
            raise TimeoutError(log.read_text() if log.exists() else "postfix does not answer")
        time.sleep(0.05)


def install() -> str:
    """Why there is none; empty when there is one (for root, Debian's is installed)."""
    if POSTFIX.exists() and os.geteuid() == 0:
        return ""
    if os.geteuid() != 0:
        return "needs root: Postfix starts as root only"
    if not Path("/usr/bin/apt-get").exists():
        return "needs Debian's package postfix"
    quiet = {"env": os.environ | {"DEBIAN_FRONTEND": "noninteractive"}, "check": True}
    answer = b"postfix postfix/main_mailer_type select No configuration\n"
    subprocess.run(["/usr/bin/debconf-set-selections"], input=answer, check=True)
    subprocess.run(["/usr/bin/apt-get", "-qq", "update"], **quiet)  # type: ignore[call-overload]
    install = ["/usr/bin/apt-get", "-qq", "install", "--no-install-recommends", "--yes"]
    subprocess.run([*install, "postfix"], **quiet)  # type: ignore[call-overload]
    return ""
