# A command on a terminal of its own: `monitor-pty.py ROWS COLUMNS COMMAND…`. Each line of standard input is JSON: {"keys": "…"} is
# typed, {"size": [rows, columns]} resizes, {"signal": n} is sent. What the command draws comes out as it is; at its end one line of
# JSON on standard error: how it ended, and whether the terminal is set as it was.
import fcntl
import json
import os
import pty
import select
import signal
import struct
import sys
import termios


def resize(fd, rows, columns):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


rows, columns, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
ours, theirs = pty.openpty()
resize(ours, rows, columns)
before = termios.tcgetattr(theirs)
child = os.fork()
if child == 0:
    os.close(ours)
    os.setsid()
    fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)
    for fd in (0, 1, 2):
        os.dup2(theirs, fd)
    os.execvp(command[0], command)

typed = b""
status = None
while True:
    ready = select.select([ours, 0] if status is None else [ours], [], [], 0.05)[0]
    if ours in ready:
        os.write(1, os.read(ours, 65536))
        continue
    if status is not None:
        break
    if 0 in ready:
        more = os.read(0, 65536)
        if not more:
            os.kill(child, signal.SIGKILL)
        typed += more
        *lines, typed = typed.split(b"\n")
        for line in map(json.loads, lines):
            if "keys" in line:
                os.write(ours, line["keys"].encode())
            elif "size" in line:
                resize(ours, *line["size"])
            else:
                os.kill(child, line["signal"])
    done, ended = os.waitpid(child, os.WNOHANG)
    if done:
        status = os.waitstatus_to_exitcode(ended)
same = termios.tcgetattr(theirs) == before
sys.stderr.write(json.dumps({"status": status, "restored": same}) + "\n")
