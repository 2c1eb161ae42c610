"""Stands for `python`: hands its command line to a fork server and ends as the fork ends.

    python tests/fork_client.py SOCKET -c CODE | -m MODULE | - | FILE  [ARGUMENTS]

Signals are passed on, and the fork dies with this process. See tests/fork_server.py.
"""

import contextlib
import json
import os
import signal
import socket
import sys

NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")
SIGNALS = [getattr(signal, name) for name in NAMES]

ignored = [number for number in SIGNALS if signal.getsignal(number) == signal.SIG_IGN]
waiting: list[int] = []
program = 0


def pass_on(number: int, frame: object) -> None:
    """Send the program what this process was sent, or keep it until there is a program."""
    if not program:
        waiting.append(number)
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(program, number)


for number in SIGNALS:
    signal.signal(number, pass_on)
asked = json.dumps(
    {
        "words": sys.argv[2:],
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "ignored": ignored,
    }
).encode()
with socket.socket(socket.AF_UNIX) as link:
    link.connect(sys.argv[1])
    socket.send_fds(link, [len(asked).to_bytes(4, "big")], [0, 1, 2])
    link.sendall(asked)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):  # or a reader would wait for this process too
        os.dup2(nothing, stream)
    with link.makefile() as answer:
        program = int(answer.readline())
        for number in waiting:
            pass_on(number, None)
        ended = int(answer.readline())
if ended < 0:
    if -ended in SIGNALS:
        signal.signal(-ended, signal.SIG_DFL)
    os.kill(os.getpid(), -ended)
os._exit(ended)
