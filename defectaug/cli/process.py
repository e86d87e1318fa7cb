"""What the command line does to its process, and the functions behind it never do: signals, hooks, memory, streams."""

from __future__ import annotations

import _thread
import ctypes
import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

AGAIN_AFTER = 0.02  # seconds


def prepare_streams() -> None:
    """Paths go out as they came in, valid Unicode or not; Pillow's warnings do not, since damaged files are named."""
    warnings.filterwarnings("ignore", module="PIL")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")


def prepare_training() -> None:
    """Before torch is imported: lets oneDNN keep a GAN's many shapes of convolutions, each of which is compiled once
    (1,024 by default), and glibc keep what is freed: by itself it hands every block of some MB back to the system, that
    clears it anew for the next one, a tenth of a training step on a CPU. Elsewhere nothing happens."""
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "4096")
    trim, mmap = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of mallopt(3)
    with suppress(OSError, AttributeError, TypeError):
        c = ctypes.CDLL(None)
        c.mallopt(mmap, 1 << 30)
        c.mallopt(trim, (1 << 31) - 1)


@contextmanager
def interrupts_heeded() -> Iterator[None]:
    """Within, SIGTERM and the end of the terminal end the command as Ctrl-C does: tidily, and with a line. An interrupt
    that reaches a destructor or a weak reference's callback (imports have them), where Python drops whatever is raised,
    comes again a moment later."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    taken = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]  # nohup ignores one of them
    previous = sys.unraisablehook

    def again(ignored: sys.UnraisableHookArgs) -> None:
        if issubclass(ignored.exc_type, KeyboardInterrupt):
            heard = [n for n in (signal.SIGINT, *taken) if signal.getsignal(n) is signal.default_int_handler]
            if heard:  # at once it would end this function alone
                threading.Timer(AGAIN_AFTER, _thread.interrupt_main, heard[:1]).start()
        elif not _is_of_half_made(ignored):
            previous(ignored)

    for number in taken:
        signal.signal(number, signal.default_int_handler)
    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = previous
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _is_of_half_made(ignored: sys.UnraisableHookArgs) -> bool:
    """Whether a destructor missed what the constructor had not made yet when it was interrupted (as zipfile's does)."""
    return issubclass(ignored.exc_type, AttributeError) and getattr(ignored.object, "__name__", "") == "__del__"
