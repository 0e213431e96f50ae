"""Pages that are freed are used again, whichever thread freed them; searches for cycles wait."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from autolabel.memory import keep_pages, uncollected

WORK = """
import resource, sys, threading
import numpy as np
from autolabel.memory import keep_pages
if sys.argv[1] == "keep":
    keep_pages()
def work():
    for _ in range(20):
        batch = [np.full(2_000_000, 1, np.float32) for _ in range(3)]  # 8 MB each, 48 in both threads
        del batch
for attempt in range(5):
    if attempt == 1:  # the first pages are new in any case
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    return int(subprocess.run([sys.executable, "-c", WORK, how], capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux") or not keep_pages(), reason="only glibc can be told")
def test_threads_use_freed_pages_again():
    assert faults("keep") < faults("default") / 2


def test_cycles_are_looked_for_again_afterwards() -> None:
    assert gc.isenabled()
    with uncollected():
        assert not gc.isenabled()
        with uncollected():
            pass
        assert not gc.isenabled()  # the inner one leaves it to the outer
    with pytest.raises(ZeroDivisionError), uncollected():
        _ = 1 / 0
    assert gc.isenabled()
