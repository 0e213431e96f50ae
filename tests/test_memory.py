"""Pages that are freed are used again, whichever thread freed them; few shapes of what torch computes are kept; searches for cycles wait."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys

import pytest
import torch

from autolabel import memory
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

SHAPES = """
import ctypes, sys
import torch
from autolabel.memory import keep_pages
class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]
libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Info
torch.set_num_threads(1)
if sys.argv[1] == "keep":
    keep_pages()
def shapes(lengths):
    for n in lengths:
        work(torch.zeros(8, n), n)
def work(x, n):
    if sys.argv[2] == "gelu":
        torch.nn.functional.gelu(x)
    else:
        torch.ops.mkldnn._linear_pointwise(x, torch.zeros(n, 16).t(), None, "none", [], "")
shapes(range(16, 100))
before = libc.mallinfo2().uordblks
shapes(range(100, 400))
print(libc.mallinfo2().uordblks - before)
"""


def counted(how: str, work: str, what: str = "") -> int:
    return int(subprocess.run([sys.executable, "-c", work, how, what], capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux") or not keep_pages(), reason="only glibc can be told")
def test_threads_use_freed_pages_again() -> None:
    assert counted("keep", WORK) < counted("default", WORK) / 2


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2") or "mkldnn" not in torch.__config__.show().lower(), reason="no oneDNN, or a libc that does not count")
@pytest.mark.parametrize("what", ["gelu", "product"])
def test_few_shapes_are_kept(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in memory.SHAPES:
        monkeypatch.delenv(name, raising=False)
    assert counted("keep", SHAPES, what) < counted("default", SHAPES, what) / 4  # bytes in use
    for name in memory.SHAPES:
        monkeypatch.setenv(name, "1024")  # what the user says stays
    assert counted("keep", SHAPES, what) > counted("default", SHAPES, what) / 4


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
