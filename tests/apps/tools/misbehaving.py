"""Work that other processes do in tests of the pool."""

import errno
import os
import signal
import sys
import time
from importlib import import_module


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
        case "full":
            raise OSError(errno.ENOSPC, "No space left on device", "copy.mp4")
        case "refuse":
            raise ValueError("refuse: no video stream")
        case "slow":
            for _ in range(8):
                time.sleep(0.5)
                alive()
    return f"{task} done"


def where_modules_are(*_):
    """The import path of this process, and the files of some modules that are imported only now or were before."""
    names = ("random", "queue", "token", "wave")
    return sys.path, [str(import_module(name).__file__) for name in names]
