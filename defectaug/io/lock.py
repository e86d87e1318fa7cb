"""Folders and files that one run alone writes to."""

from __future__ import annotations

import errno
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from defectaug.errors import OutputError

# What a system or a network drive without locks answers: its user must see to it that one run writes there.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
AT_ONCE = 0.1  # seconds: long enough for a second try where the file was removed between opening and locking it


class Lock:
    """A lock file, held until `release` or the end of the process, however it ends.

    Args:
        path: the file; removed in the end.
        busy: message of the error where another run holds it; None waits for that run's release.

    Raises:
        OutputError: another run holds it.
        OSError: it cannot be made.
    """

    def __init__(self, path: Path, busy: str | None = None) -> None:
        self.path = path
        self._lock = FileLock(path, timeout=-1 if busy is None else AT_ONCE, thread_local=False)
        while True:
            try:
                self._lock.acquire()
            except Timeout as error:
                raise OutputError(busy) from error
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
                return
            if path.exists():
                return
            self._lock.release()  # its owner removed it just now, a third run may hold a new one

    def release(self) -> None:
        """Removes the file and gives the lock back."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)
        self._lock.release()

    def __enter__(self) -> Lock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
