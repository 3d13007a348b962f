#!/usr/bin/env python3
"""Stands in for the collector and the agent (it is linked under both names) in the test of scripts/run.sh.

Listens where it is told, answers 200 to everything, ends on SIGTERM, and writes its pid to $FAKE_PIDS.
$FAKE_BROKEN names the one of the two that fails: "collector" at its start, "agent" one second later.
"""

import http.server
import os
import pathlib
import signal
import sys
import threading

name = pathlib.PurePath(sys.argv[0]).name.removeprefix("fleetprof-")
option = {"collector": "--listen", "agent": "--metrics-listen"}[name]
host, port = sys.argv[sys.argv.index(option) + 1].split(":")
broken = os.environ.get("FAKE_BROKEN") == name


class Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


def fail():
    print(f"error: the fake {name} broke as it was told", flush=True)
    os._exit(3)


with open(os.environ["FAKE_PIDS"], "a", encoding="utf-8") as pids:
    pids.write(f"{os.getpid()}\n")
if broken and name == "collector":
    fail()
if broken:
    threading.Timer(1, fail).start()
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
http.server.ThreadingHTTPServer((host, int(port)), Healthy).serve_forever()
