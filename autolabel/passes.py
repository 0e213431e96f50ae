"""Forward passes of many batches, as many side by side as torch has threads.

n batches on one thread each take about as long as n batches on n threads one after another, and what is counted at the sites runs on all cores
too, no part of it waiting for another. Visits of one site keep the order of the batches, so what is counted is the same, to the bit, for
any number of threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import TYPE_CHECKING

from autolabel.memory import keep_pages
from autolabel.protocols import Subject
from autolabel.types import Site

if TYPE_CHECKING:
    import torch

    from autolabel.protocols import Visit

Job = Callable[["Visit"], object]  # runs one batch and shows it to the visit
Place = tuple[str, str]


def concurrent(subject: Subject) -> bool:
    """Whether passes of it may run side by side. Asked of the class: a subject that wraps another may lend out the attributes of that one."""
    return hasattr(type(subject), "concurrent") and bool(getattr(subject, "concurrent", False))


class _Stopped(Exception):
    """Another batch failed."""


class Passes:
    """`with Passes(subject, sites) as passes: passes.add(job, visit)`; every batch was visited when the block ends.

    Side by side where the subject says that it can be (`concurrent`); else one after another, at once. `visit` runs on a thread of its own
    for each batch, one at a time for each site: what it shares between sites must bear that.
    """

    def __init__(self, subject: Subject, sites: Sequence[Site]) -> None:
        import torch

        keep_pages()
        self._threads = torch.get_num_threads()
        apart = self._threads > 1 and concurrent(subject)
        self._pool = ThreadPoolExecutor(self._threads, "pass", initializer=torch.set_num_threads, initargs=(1,)) if apart else None
        self._turn = threading.Condition()
        self._next: dict[Place, int] = {(site.layer, site.name): 0 for site in sites}  # number of the batch whose turn it is
        self._running: set[Future[None]] = set()
        self._number = 0
        self._error: BaseException | None = None

    def __enter__(self) -> Passes:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None) -> None:
        import torch

        try:
            if self._pool is not None and error is None:
                self.wait()
        finally:
            if self._pool is not None:
                self._fail(error or _Stopped())
                self._pool.shutdown(wait=True, cancel_futures=True)
                torch.set_num_threads(self._threads)

    def add(self, job: Job, visit: Visit) -> None:
        """Another batch; waits while enough are under way. Raises what any batch raised."""
        if self._pool is None:
            job(visit)
            return
        while len(self._running) > self._threads:  # one waits, so that no thread does
            self._collect(wait(self._running, return_when=FIRST_COMPLETED).done)
        self._running.add(self._pool.submit(self._one, self._number, job, visit))
        self._number += 1

    def aside(self, work: Callable[[], object]) -> None:
        """Work of another kind, on the threads of the batches: on others torch would add up in another order."""
        self.add(lambda _visit: work(), lambda _site, _x, _span: None)

    def wait(self) -> None:
        """Until every batch was visited. Raises what any batch raised."""
        self._collect(wait(self._running).done)

    def _collect(self, done: set[Future[None]]) -> None:
        self._running -= done
        if self._error is not None:
            raise self._error
        for future in done:
            future.result()

    def _one(self, number: int, job: Job, visit: Visit) -> None:
        left = set(self._next)

        def in_turn(site: Site, x: torch.Tensor, span: slice) -> None:
            place = site.layer, site.name
            self._await(place, number)
            visit(site, x, span)
            left.discard(place)
            self._pass_on(place)

        try:
            job(in_turn)
            for place in sorted(left):  # it was not shown there
                self._await(place, number)
                self._pass_on(place)
        except BaseException as error:
            self._fail(error)
            raise

    def _await(self, place: Place, number: int) -> None:
        with self._turn:
            self._turn.wait_for(lambda: self._error is not None or self._next[place] == number)
            if self._error is not None:
                raise _Stopped

    def _pass_on(self, place: Place) -> None:
        with self._turn:
            self._next[place] += 1
            self._turn.notify_all()

    def _fail(self, error: BaseException) -> None:
        with self._turn:
            self._error = self._error or error
            self._turn.notify_all()
