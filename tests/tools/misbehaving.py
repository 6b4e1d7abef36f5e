"""Work that other processes do in tests of the pool."""

import os
import signal
import time


def work(task, alive):
    match task:
        case "hang":
            time.sleep(60)
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "exit":
            os._exit(3)
        case "raise":
            raise KeyError("what a decoder may raise")
        case "refuse":
            raise ValueError("refuse: no video stream")
        case "slow":
            for _ in range(8):
                time.sleep(0.5)
                alive()
    return f"{task} done"
