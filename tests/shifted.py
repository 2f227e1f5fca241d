"""Functions run in a process of their own, whose clock the test moves: Python's and GnuTLS's.

A small library is loaded before all others; its ``time``, ``gettimeofday`` and ``clock_gettime``
add what stands in a file to the time of day. Clocks that only measure durations are left alone.
"""

import importlib
import mmap
import os
import struct
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

from conftest import Certificates

SOURCE = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *shift; /* nanoseconds */

__attribute__((constructor)) static void begin(void)
{
	int file = open(getenv("SHIFTED_CLOCK"), O_RDONLY);

	shift = mmap(NULL, 8, PROT_READ, MAP_SHARED, file, 0);
	close(file);
}

int clock_gettime(clockid_t clock, struct timespec *at)
{
	int code = (int)syscall(SYS_clock_gettime, clock, at);

	if (code == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
		int64_t moved = at->tv_nsec + *shift % 1000000000;

		at->tv_sec += *shift / 1000000000 + (moved >= 1000000000) - (moved < 0);
		at->tv_nsec = (moved + 1000000000) % 1000000000;
	}
	return code;
}

time_t time(time_t *at)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (at)
		*at = now.tv_sec;
	return now.tv_sec;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	at->tv_sec = now.tv_sec;
	at->tv_usec = now.tv_nsec / 1000;
	return 0;
}
"""


class ShiftedClock:
    """The clock of this process, and of others that have the same file."""

    def __init__(self, path: str) -> None:
        with open(path, "r+b") as file:  # noqa: PTH123
            self._memory = mmap.mmap(file.fileno(), 8)

    @property
    def shift(self) -> float:
        """By how many seconds it is ahead."""
        return float(struct.unpack("=q", self._memory)[0]) / 1e9

    @shift.setter
    def shift(self, seconds: float) -> None:
        self._memory[:] = struct.pack("=q", int(seconds * 1e9))


Work = Callable[[Certificates, ShiftedClock, Path], None]


def run_shifted(work: Work, certificates: Certificates, folder: Path) -> None:
    """Run a function of a test module elsewhere; it may use the folder, and raises what it must."""
    source, library, shift = folder / "clock.c", folder / "clock.so", folder / "shift"
    source.write_text(SOURCE)
    compiler = sysconfig.get_config_var("CC").split()[0]
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source], check=True)
    shift.write_bytes(bytes(8))
    tests = Path(__file__).parent
    program = "import shifted, sys; shifted.child(*sys.argv[1:])"
    module = Path(work.__code__.co_filename)
    done = subprocess.run(
        [
            sys.executable,
            "-P",
            "-c",
            program,
            module.stem,
            work.__name__,
            certificates.folder,
            folder,
        ],
        env=os.environ
        | {
            "LD_PRELOAD": str(library),
            "SHIFTED_CLOCK": str(shift),
            "PYTHONPATH": os.pathsep.join([str(tests), str(module.parent)]),
        },
        capture_output=True,
        check=False,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr


def child(module: str, name: str, certificates: str, folder: str) -> None:
    pem = Path(certificates)
    made = Certificates(
        trust=(pem / "trust.pem").read_bytes(),
        certificate=(pem / "certificate.pem").read_bytes(),
        key=(pem / "key.pem").read_bytes(),
        client_certificate=b"",
        client_key=b"",
        other_trust=b"",
        folder=pem,
    )
    work: Work = getattr(importlib.import_module(module), name)
    work(made, ShiftedClock(os.environ["SHIFTED_CLOCK"]), Path(folder))
