"""Answers of a model for many clients at once (DL4J: ``ParallelInference``)."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

from ndarena.nn.words import Choice, at_least_one, member, number
from ndarena.parallel import blas
from ndarena.parallel.inference_models import Served
from ndarena.parallel.inference_requests import CLOSED, Call, Promise, RequestQueue
from ndarena.parallel.inference_workers import Borrowers, Workers

if TYPE_CHECKING:
    from concurrent.futures import Future

    from ndarena.parallel.inference_models import Model

__all__ = ["InferenceMode", "LoadBalanceMode", "ParallelInference"]

OWNER = "ParallelInference"


class InferenceMode(Choice):
    """Who answers requests, and how many at a time (DL4J: ``InferenceMode``)."""

    SEQUENTIAL = "SEQUENTIAL"
    """Workers in threads of their own, one request after the other."""
    BATCHED = "BATCHED"
    """The same, and requests that wait are answered together."""
    INPLACE = "INPLACE"
    """The thread that asks, as soon as a replica of the model is free."""


class LoadBalanceMode(Choice):
    """Which replica a thread is given in mode INPLACE (DL4J: ``LoadBalanceMode``)."""

    FIFO = "FIFO"
    """One that is free."""
    ROUND_ROBIN = "ROUND_ROBIN"
    """The next one in turn, even if that is still to come back."""


class ParallelInference:
    """A model that many threads ask at the same time (DL4J: ``ParallelInference``).

    Requests whose features, and masks, agree in all but the number of rows are answered together: the rows of
    all are copied into the worker's workspace, one below the other, and every client gets its rows of the
    outputs. The results are plain arrays that belong to whoever asked. A request that fails fails alone.
    Together with others the last bits of a result may differ, as those of products of another size do.

    Every worker's thread has workspaces of its own, which end with it.

    Parameters
    ----------
    model : MultiLayerNetwork or ComputationGraph
        It is copied: it may go on learning, and `update_model` says when that shall be seen.
    workers : int, optional
        How many threads answer, or in mode INPLACE how many may ask at the same time. Default: one, in whose
        products the BLAS may use all cores; several share them, until `close`.
    inference_mode : InferenceMode or str
        Who answers.
    batch_limit : int
        How many rows are answered together at most; a request with more rows is answered alone.
    queue_limit : int
        How many requests wait at most; who asks then waits until there is room.
    load_balance_mode : LoadBalanceMode or str
        Which replica is next, in mode INPLACE.
    max_wait : float
        Seconds that a free worker waits at most, counted from the oldest request, for as many rows to come
        together as it answered last, or for half as many where that proves faster.

    Raises
    ------
    ConfigurationError
        A number below 1, a negative time, or an unknown name.
    TypeError
        The model is no network.
    """

    def __init__(  # noqa: PLR0913 - DL4J's options
        self,
        model: Model,
        *,
        workers: int | None = None,
        inference_mode: InferenceMode | str = InferenceMode.BATCHED,
        batch_limit: int = 32,
        queue_limit: int = 64,
        load_balance_mode: LoadBalanceMode | str = LoadBalanceMode.FIFO,
        max_wait: float = 0.002,
    ) -> None:
        self._workers = 1 if workers is None else at_least_one(workers, OWNER, "workers")
        self._mode = member(InferenceMode, inference_mode, OWNER, "inference_mode")
        balance = member(LoadBalanceMode, load_balance_mode, OWNER, "load_balance_mode")
        limits = (
            at_least_one(queue_limit, OWNER, "queue_limit"),
            at_least_one(batch_limit, OWNER, "batch_limit"),
        )
        patience = number(max_wait, OWNER, "max_wait", least=0)
        self._served, self._closed = self._serve(model), False
        self._limits = ExitStack()
        self._limits.enter_context(blas.limited(self._workers))
        if self._mode is InferenceMode.INPLACE:
            in_turn = balance is LoadBalanceMode.ROUND_ROBIN
            self._answering: Borrowers | Workers = Borrowers(self._workers, in_turn=in_turn)
        else:
            self._answering = Workers(self._workers, RequestQueue(*limits, patience))

    def _serve(self, model: Model) -> Served:
        return Served(model, self._workers, merges=self._mode is InferenceMode.BATCHED)

    def output(self, x: Any, features_mask: Any = None) -> Any:
        """Return the model's output, as its own ``output`` does.

        Parameters
        ----------
        x : array_like
            Features, ``[N, ...]``; for a graph a list of one array per input.
        features_mask : array_like, optional
            Their mask; for a graph a list of one per input, each of which may be ``None``.

        Raises
        ------
        RuntimeError
            It is closed, or was closed before the request was answered.

        Whatever else the model raises for these features is raised here.
        """
        if self._closed:
            raise RuntimeError(CLOSED)
        call = self._served.request(x, features_mask, Call)
        try:
            self._answering.put(call)
            return call.result()
        finally:
            call.leave()

    def submit(self, x: Any, features_mask: Any = None) -> Future[Any]:
        """Ask, and return a future of the answer; it can be cancelled until a worker has begun.

        The arrays are read when a worker takes the request; they must not be changed until it is done. In
        mode INPLACE, and in a worker's thread, the answer is there at once. Callbacks of the future run in
        the worker's thread, which waits for them.

        Parameters
        ----------
        x, features_mask : array_like
            Those of `output`.

        Raises
        ------
        RuntimeError
            It is closed.
        TypeError, ValueError
            The features cannot be the model's. What only the model can tell comes as the future's exception.
        """
        if self._closed:
            raise RuntimeError(CLOSED)
        promise = self._served.request(x, features_mask, Promise)
        future = promise.future
        self._answering.put(promise)
        return future

    def update_model(self, model: Model) -> None:
        """Answer with another model, or with this one as it is now, whatever is asked from now on.

        Requests that were made before are answered by the model that was there when they were made. The model
        is copied, so it must not learn meanwhile in another thread; a listener of it may call this.
        """
        if self._closed:
            raise RuntimeError(CLOSED)
        self._served = self._serve(model)

    def get_current_models_from_workers(self) -> list[Model]:
        """Return the replicas that answer the next requests, one for each worker; they share parameters."""
        return list(self._served.replicas)

    def get_worker_counter(self, worker: int) -> int:
        """Return how many requests a worker, counted from 0, has taken."""
        return self._answering.counts[worker]

    def close(self, cancel_pending: bool = True) -> None:  # noqa: FBT001, FBT002 - the contract's
        """Take no more requests, and end the workers; what they are at is finished.

        A thread that answers requests itself, in a layer or a callback, does not wait for that.

        Parameters
        ----------
        cancel_pending : bool
            Whether requests that wait are cancelled, or else answered first. Who waits in `output` for one
            that is cancelled gets a `RuntimeError`.
        """
        self._closed = True
        self._answering.close(cancel_pending=cancel_pending)
        self._limits.close()

    def __enter__(self) -> Self:
        """Return this object."""
        return self

    def __exit__(self, *_: object) -> None:
        """Do as `close`."""
        self.close()
