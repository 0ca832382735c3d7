"""A process that computes for another one ends with it, however that one ends."""

import functools
import os
import threading
import time

_POLL_SECONDS = 0.5


@functools.cache
def end_with(parent: int) -> None:
    """Let this process end soon after the command, which may be killed, and then given again.

    Args:
        parent: the process that this one computes for; the caller itself watches nobody.
    """
    if os.getpid() == parent:
        return

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_POLL_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
