"""The errors that BatchBridge raises on purpose.

::

    BatchBridgeError
    ├── RequestError                  one request ended without an answer; raised where it is awaited
    │   ├── RequestFailed             the provider answered with an error, or the batch failed
    │   ├── RequestExpired            the provider's window closed before the request ran
    │   ├── RequestCancelled          the request or its batch was cancelled
    │   └── BudgetExceeded            the request was not sent: it would have passed a budget
    ├── ResultPending                 the answer is not there yet; ask again later
    ├── UsageError (RuntimeError)     the program is wrong; trying again does not help
    │   ├── OutsideGraphError         `wait` was called where no LangGraph node runs
    │   ├── NoCheckpointerError       the graph cannot park: it has no checkpointer
    │   ├── NoStoreError              a graph on a server runs without a store, where its bridge would find it
    │   ├── UnknownBatcherError       `batcher=` names no bridge of this Runner, or of this deployment
    │   ├── UnknownJobError           a file holds no job of this handle
    │   ├── UnknownThreadError        a Runner holds no thread of this handle
    │   ├── BridgeUnreachableError    the server does not let this user reach the bridge
    │   ├── OrderError                a run of a bridge's graph on a server orders what there is not
    │   ├── NondeterministicNodeError a node asks for something else each time it is run again
    │   ├── RunMismatchError          the same `run_id` was used with other inputs
    │   ├── GraphChangedError         a thread waits at a node that the graph does not have any more
    │   ├── RunnerStateError          a Runner was used while it was closed, or from the wrong place
    │   │   └── ThreadUnderWayError   a thread is driven already, and this call may not join
    │   ├── BatcherClosedError        a Batcher was closed while somebody waited, or is asked afterwards
    │   ├── UnsupportedCallError      a wrapped client was asked for what a batch cannot hold
    │   ├── SwallowedInterruptError   a node caught the interrupt that should have parked it
    │   ├── LostStateError            a value that no checkpoint holds was needed after a wait, and is gone
    │   └── BadPollResultError        `poll` returned something of the wrong form; its batch stays in flight
    ├── ConfigError                   a file that describes bridges cannot be read, or describes none that can be made
    ├── BatchFailed                   what a `poll` of yours raises, or returns, when its batch has failed
    ├── JSONError (TypeError)         a value that JSON cannot carry, with the path to it
    ├── MissingPackageError (ModuleNotFoundError)  a part needs a package that is not installed
    ├── SubmittedThreadError          a thread that was submitted to a Runner has failed
    ├── RunFileError                  the Runner's file is broken, locked or out of reach
    ├── StoreInUseError               another Runner owns the bridge, or the run, in this store
    ├── Stalled                       nothing has moved for as long as `give_up_after=` allows
    ├── CacheError                    the response cache's file is broken, locked or out of reach
    ├── LedgerError                   what the ledger holds cannot be read
    ├── ProviderError                 what a provider tells the engine about a call that failed
    │   ├── ProviderUnavailable       nothing happened; the call may be repeated later
    │   ├── SubmissionUnknown         it is not known whether the batch was created
    │   ├── SubmissionRefused         nothing was created and trying again will not help
    │   └── ResponseRejected          what the provider sent is over a limit, or leads to another host
    └── RequestRefused                one request cannot be sent at all; its neighbours can

`UsageError` is a `RuntimeError` and `JSONError` a `TypeError`, so LangGraph's default `RetryPolicy` does not
retry them. A `RequestError` is retried by it, and a retry asks the provider anew.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Literal


class BatchBridgeError(Exception):
    """Everything that BatchBridge raises on purpose. Survives pickle and copy, attributes included."""

    _logged_as: str | None = None

    def __reduce__(self) -> tuple[object, ...]:
        return (_remake, (type(self), self.args), self.__dict__)


def _remake(kind: type[BatchBridgeError], args: tuple[object, ...]) -> BatchBridgeError:
    return kind.__new__(kind, *args)


class RequestError(BatchBridgeError):
    """One request ended without an answer.

    Attributes:
        request_id: The request, as the ledger and the provider's `custom_id` name it.
        code: A short machine-readable cause, the provider's own where it gave one.
        status_code: The HTTP status of the request's line, if it has one.
        retryable: Whether the same request may succeed when it is sent again.
        attempts: The tries before this one, oldest first: dicts of `batch` (our key), `kind`, `code` and `at`.
    """

    def __init__(
        self,
        message: str,
        *,
        request_id: str = "",
        code: str = "",
        status_code: int | None = None,
        retryable: bool = False,
    ) -> None:
        super().__init__(message)
        self.request_id = request_id
        self.code = code
        self.status_code = status_code
        self.retryable = retryable
        self.attempts: tuple[dict[str, object], ...] = ()


class RequestFailed(RequestError):
    """The provider answered with an error, or the batch failed as a whole."""


class RequestExpired(RequestError):
    """The provider's completion window closed before the request ran."""


class RequestCancelled(RequestError):
    """The request, or the batch that held it, was cancelled before it ran."""


class BudgetExceeded(RequestError):
    """A request was not sent, because it would have passed a budget. Nothing was paid for it.

    With a higher budget the same command goes on: what was paid is kept, and what was not sent is sent.

    Attributes:
        what: The limit that it would have passed: `"usd"`, `"usd_per_thread"` or `"requests_per_thread"`; `"price"`
            where no price of its model is known, so that nobody can tell.
        spent: US dollars that are spent of that limit; requests, where it counts those.
        reserved: US dollars that are reserved of it for requests on their way, as the most that they can cost.
        limit: The limit.
    """

    def __init__(
        self,
        message: str,
        *,
        request_id: str = "",
        what: str = "",
        spent: Decimal = Decimal(0),
        reserved: Decimal = Decimal(0),
        limit: Decimal = Decimal(0),
    ) -> None:
        super().__init__(message, request_id=request_id, code="budget_exceeded", retryable=True)
        self.what = what
        self.spent = spent
        self.reserved = reserved
        self.limit = limit


class ResultPending(BatchBridgeError):
    """The answer is not there yet. The request is kept and will be sent, or has been: ask again later, it is one.

    Attributes:
        request_id: The request, as the ledger and the provider's `custom_id` name it.
        status: `"queued"`: it is written down and goes with the next batch; `"in_flight"`: it is on its way.
    """

    def __init__(self, message: str, *, request_id: str, status: Literal["queued", "in_flight"]) -> None:
        super().__init__(message)
        self.request_id = request_id
        self.status = status


class UsageError(BatchBridgeError, RuntimeError):
    """The program is wrong, and trying again does not help."""


class OutsideGraphError(UsageError):
    """`wait` was called where no LangGraph node runs."""


class NoCheckpointerError(UsageError):
    """The graph cannot park a thread, because nothing stores its checkpoints."""


class NoStoreError(UsageError):
    """A graph on a LangGraph server runs without a store, where its bridge would find out that it waits."""


class UnknownBatcherError(UsageError):
    """`batcher=` names no bridge of the Runner that drives the graph, or of the deployment that it runs in."""


class UnknownJobError(UsageError):
    """A file holds no job of this handle."""


class UnknownThreadError(UsageError):
    """A Runner holds no thread of this handle: none was submitted, and none has a checkpoint."""


class BridgeUnreachableError(UsageError):
    """A LangGraph server does not let the user of this run reach the bridge."""


class OrderError(UsageError):
    """A run of a bridge's graph on a LangGraph server was given an order that there is not, or that names nothing."""


class NondeterministicNodeError(UsageError):
    """A node asks for something else each time that it is run again."""


class RunMismatchError(UsageError):
    """The same `run_id` was used with other inputs.

    Attributes:
        index: The position of the first input that differs, counted from 0.
    """

    def __init__(self, message: str, *, index: int) -> None:
        super().__init__(message)
        self.index = index


class GraphChangedError(UsageError):
    """A thread waits at a node that the graph does not have any more, and would end there without a word.

    Attributes:
        thread_id: The first thread of which that is so.
        node: The node that is missing; `outer/inner` is node `inner` of the subgraph that node `outer` is.
    """

    def __init__(self, message: str, *, thread_id: str, node: str) -> None:
        super().__init__(message)
        self.thread_id = thread_id
        self.node = node


class RunnerStateError(UsageError):
    """A Runner was used while it was closed, or from the wrong place."""


class ThreadUnderWayError(RunnerStateError):
    """A thread is driven by another call of the Runner, and this one may not join it."""


class BatcherClosedError(UsageError):
    """A Batcher was closed while somebody waited, or is asked afterwards."""


class UnsupportedCallError(UsageError):
    """A wrapped client was asked for something that a batch cannot hold."""


class SwallowedInterruptError(UsageError):
    """A node caught the interrupt that should have parked it, or raised another error in its place; nothing was sent.

    The node fails with it, and nothing that it has returned is kept. What it raised itself is the `__cause__`.
    """


class LostStateError(UsageError):
    """A thread had a value in an `UntrackedValue` channel when it was stopped, and the process that held it is gone.

    Attributes:
        thread_id: The thread.
        node: The node, or nodes, that it waits at; empty where it was stopped between two steps.
        channels: The channels whose values are lost.
    """

    def __init__(self, message: str, *, thread_id: str = "", node: str = "", channels: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.thread_id = thread_id
        self.node = node
        self.channels = tuple(channels)


class BadPollResultError(UsageError):
    """A `poll` of the user's returned something of the wrong form. Nothing was guessed, and the batch stays in flight.

    Mend `poll` and run the same command again: the batch is looked at again, and paid once.
    """


class BatchFailed(BatchBridgeError):
    """The batch has failed: what a `poll` of the user's raises, or returns, to end it.

    Every request of the batch that has no outcome yet fails with its message. Anything else that `poll` raises means
    that it could not look, and the batch stays in flight.

    Args:
        message: Why; the requests' errors carry it.
        code: The code that the requests' errors carry.
    """

    def __init__(self, message: str = "the batch failed", *, code: str = "batch_failed") -> None:
        super().__init__(message)
        self.code = code


class ConfigError(BatchBridgeError):
    """A file that describes bridges cannot be read, or describes none that can be made.

    Attributes:
        problems: What is wrong, one entry for each field.
    """

    def __init__(self, message: str, *, problems: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class JSONError(BatchBridgeError, TypeError):
    """A value that JSON cannot carry.

    Attributes:
        path: Where it is inside the whole, as one would write it in Python, e.g. `['messages'][0]['when']`.
    """

    def __init__(self, message: str, *, path: str) -> None:
        super().__init__(message)
        self.path = path


class MissingPackageError(BatchBridgeError, ModuleNotFoundError):
    """A provider needs a package that is not installed."""


class SubmittedThreadError(BatchBridgeError):
    """A thread that was submitted to a Runner has failed, in this process or in one before it.

    Attributes:
        thread_id: The thread.
    """

    def __init__(self, message: str, *, thread_id: str) -> None:
        super().__init__(message)
        self.thread_id = thread_id


class RunFileError(BatchBridgeError):
    """The Runner's file is broken, locked, or out of reach."""


class StoreInUseError(BatchBridgeError):
    """Another Runner owns a bridge or a run in this store: two at once would pay twice.

    Attributes:
        host: The machine that it runs on.
        pid: Its process.
    """

    def __init__(self, message: str, *, host: str = "", pid: int = 0) -> None:
        super().__init__(message)
        self.host = host
        self.pid = pid


class Stalled(BatchBridgeError):
    """Nothing has moved for as long as `give_up_after=` of a `Runner` or `Batcher` allows: every call has failed.

    Nothing is lost: the same command goes on, with the batches that are in flight, once the cause is mended.

    Attributes:
        problem: What failed last.
        seconds: For how long nothing has moved.
    """

    def __init__(self, message: str, *, problem: str = "", seconds: float = 0.0) -> None:
        super().__init__(message)
        self.problem = problem
        self.seconds = seconds


class CacheError(BatchBridgeError):
    """The response cache's file is broken, locked, another program's, or out of reach."""


class LedgerError(BatchBridgeError):
    """What the ledger holds cannot be read, or a newer version wrote it."""


class ProviderError(BatchBridgeError):
    """What a provider tells the engine about a call that failed.

    A provider raises one of the kinds below. Anything else that its `submit` raises fails the requests of the
    batch; anything else that its `poll` raises means that it could not look, and the batch stays in flight. Its text is
    logged, so it is to say what the provider's service does, and to quote no item and no answer.
    """


class ProviderUnavailable(ProviderError):
    """Nothing happened, and the same call may be repeated later.

    Attributes:
        retry_after: Seconds that the provider asked to be left alone, if it said so.
        is_full: It took no batch because too much waits there already (a 429): a smaller one may be taken.
    """

    def __init__(self, message: str, *, retry_after: float | None = None, is_full: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.is_full = is_full


class SubmissionUnknown(ProviderError):
    """It is not known whether the batch was created; the engine will look for it before it sends anything again."""


class SubmissionRefused(ProviderError):
    """Nothing was created, and trying the same again will not help.

    Attributes:
        code: The provider's code, which the requests of the batch will carry.
        status_code: The HTTP status of the refusal, if there was one.
    """

    def __init__(self, message: str, *, code: str = "submit_failed", status_code: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.status_code = status_code


class ResponseRejected(ProviderError):
    """What a provider sent is over a limit (`ResponseLimits`), leads to another host, or names no batch or file.

    Raised by a look at a batch, it leaves the batch in flight until `poll_patience` has run out: the answers were paid.
    """


class RequestRefused(BatchBridgeError):
    """One request cannot be sent at all; its neighbours can.

    Attributes:
        code: What the waiter's error will carry.
    """

    def __init__(self, message: str, *, code: Literal["item_too_large", "invalid_item"] = "invalid_item") -> None:
        super().__init__(message)
        self.code = code
