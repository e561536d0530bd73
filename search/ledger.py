"""`trials.jsonl`: appended to by one driver, a line a finished trial, on the disk before the next.

A line that a crash cut off is taken off the end, and kept beside the ledger.
"""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from anynet.errors import InputError
from search.trial import LEDGER_NAME, Trial, decode_trials, encode_trial


class Ledger:
    """The ledger of a run folder, open for appending; one at a time, held by a lock.

    Raises InputError where another process holds it, or where a line in it is unreadable (then
    nothing is changed).
    """

    def __init__(self, run: Path) -> None:
        try:
            run.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"--out: {run}: cannot be made: {error.strerror}") from None
        self.path = run / LEDGER_NAME
        self._lock = FileLock(run / ".lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise InputError(f"{run}: another sweep is writing to this run") from None
        try:
            self.trials = self._recover()
        except BaseException:
            self._lock.release()
            raise
        self._file: io.FileIO | None = None

    def _recover(self) -> list[Trial]:
        """Read what is there, and take a cut-off last line off the end."""
        if not self.path.exists():
            return []
        data = self.path.read_bytes()
        trials = decode_trials(data, str(self.path))
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            with open(self.path.with_suffix(".torn"), "ab") as torn:
                torn.write(data[whole:] + b"\n")
            with open(self.path, "rb+") as file:
                file.truncate(whole)
                os.fsync(file.fileno())
        return trials

    def append(self, trial: Trial) -> None:
        """Write one record and wait until it is on the disk."""
        if self._file is None:
            self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115 (closed by close)
        file, line = self._file, encode_trial(trial)
        before = os.fstat(file.fileno()).st_size
        try:
            if file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
        except OSError:
            os.ftruncate(file.fileno(), before)
            raise
        self.trials.append(trial)

    def close(self) -> None:
        """Close the file and let the next driver in; a folder that stayed empty is removed."""
        if self._file is not None:
            self._file.close()
        self._lock.release()
        lock = Path(self._lock.lock_file)
        if list(lock.parent.iterdir()) in ([], [lock]):
            lock.unlink(missing_ok=True)
            lock.parent.rmdir()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
