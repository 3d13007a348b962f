"""Burns CPU in nested Python functions.

busy.py                        all the time, until its input ends (protocol of ../burn.h)
busy.py BURN_US SLEEP_MS       as crowd.cpp does
"""

import os
import random
import sys
import threading
import time


def leaf(until):
    total = 0
    while time.thread_time() < until:
        total += sum(i * i for i in range(200)) + len(sorted(str(total) * 3))
    return total


def descend(depth, until):
    return leaf(until) if depth == 0 else descend(depth - 1, until) + depth


def burn(seconds):
    descend(8, time.thread_time() + seconds)


def wait_for_end():
    while sys.stdin.buffer.read(1):
        pass
    os._exit(0)


if len(sys.argv) == 3 and sys.argv[1].isdigit():
    burn_s, sleep_s = int(sys.argv[1]) / 1e6, int(sys.argv[2]) / 1e3
    while True:
        time.sleep(random.uniform(0, 2 * sleep_s))
        burn(burn_s)
threading.Thread(target=wait_for_end, daemon=True).start()
print(f'{{"ready":true,"pid":{os.getpid()}}}', flush=True)
while True:
    burn(0.02)
