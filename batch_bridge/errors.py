"""The errors that BatchBridge raises.

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
    │   ├── CommandError              a command to a bridge on a server does not exist or is invalid
    │   ├── NondeterministicNodeError a node builds other requests each time it runs again
    │   ├── RunMismatchError          the same `run_id` was used with other inputs
    │   ├── GraphChangedError         a thread waits at a node that the graph no longer has
    │   ├── RunnerStateError          a Runner was used while it was closed, or from the wrong place
    │   │   └── ThreadUnderWayError   a thread is driven already, and this call may not join
    │   ├── BatcherClosedError        a Batcher was closed while a caller waited, or was asked afterwards
    │   ├── UnsupportedCallError      a wrapped client was asked for what a batch cannot hold
    │   ├── SwallowedInterruptError   a node caught the interrupt that should have parked it
    │   ├── LostStateError            a value that no checkpoint holds was needed after a wait, and is gone
    │   └── BadPollResultError        `poll` returned something of the wrong form; its batch stays in flight
    ├── ConfigError                   a file that describes bridges cannot be read, or describes none that can be made
    ├── BatchFailed                   what a `poll` of yours raises, or returns, when its batch has failed
    ├── JSONError (TypeError)         a value that JSON cannot carry, with the path to it
    ├── MissingPackageError (ModuleNotFoundError)  a part needs a package that is not installed
    ├── LegLostError                  another process of a pool runs the thread by now
    ├── SubmittedThreadError          a thread that was submitted to a Runner has failed
    ├── RunFileError                  the Runner's file is broken, locked or out of reach
    ├── StoreInUseError               another Runner owns the bridge, or the run, in this store
    ├── Stalled                       every call of the providers has failed for `give_up_after=`
    ├── CacheError                    the response cache's file is damaged, locked or unreachable
    ├── LedgerError                   the ledger contains data that cannot be read
    ├── ProviderError                 a provider's report to the engine of a failed call
    │   ├── ProviderUnavailable       the call had no effect and may be repeated later
    │   ├── SubmissionUnknown         the batch may or may not have been created
    │   ├── SubmissionRefused         nothing was created, and repeating the call does not help
    │   └── ResponseRejected          the provider's response exceeds a limit, or leads to another host
    └── RequestRefused                one request cannot be sent; other requests are not affected

`UsageError` is a `RuntimeError` and `JSONError` a `TypeError`, so LangGraph's default `RetryPolicy` does not
retry them. It does retry a `RequestError`, and the retry sends the request again.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Literal


class BatchBridgeError(Exception):
    """The base of all errors that BatchBridge raises. Supports pickle and copy, including attributes."""

    _logged_as: str | None = None

    def __reduce__(self) -> tuple[object, ...]:
        return (_remake, (type(self), self.args), self.__dict__)


def _remake(kind: type[BatchBridgeError], args: tuple[object, ...]) -> BatchBridgeError:
    return kind.__new__(kind, *args)


class RequestError(BatchBridgeError):
    """One request ended without an answer.

    Attributes:
        request_id: The request's id, which is also the provider's `custom_id`.
        code: A short machine-readable cause; the provider's own code if it gave one.
        status_code: The HTTP status of the request's line, if it has one.
        retryable: Whether the same request may succeed when it is sent again.
        attempts: The earlier attempts, oldest first: dicts of `batch` (our key), `kind`, `code` and `at`.
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

    With a higher budget the same command continues: what was paid is kept, and what was not sent is sent.

    Attributes:
        what: The limit that it would have passed: `"usd"`, `"usd_per_thread"` or `"requests_per_thread"`; `"price"`
            where no price of its model is known, so that it cannot be checked.
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
    """The answer is not available yet. The request is stored, and is sent once; repeat the same call later.

    Attributes:
        request_id: The request's id, which is also the provider's `custom_id`.
        status: `"queued"`: it is stored and goes into the next batch; `"in_flight"`: it has been sent.
    """

    def __init__(self, message: str, *, request_id: str, status: Literal["queued", "in_flight"]) -> None:
        super().__init__(message)
        self.request_id = request_id
        self.status = status


class UsageError(BatchBridgeError, RuntimeError):
    """The program is wrong, and repeating the call does not help."""


class OutsideGraphError(UsageError):
    """`wait` was called outside a LangGraph node."""


class NoCheckpointerError(UsageError):
    """The graph cannot park a thread, because it has no checkpointer."""


class NoStoreError(UsageError):
    """A graph on a LangGraph server has no store, through which its bridge learns of parked threads."""


class UnknownBatcherError(UsageError):
    """`batcher=` names no bridge of the Runner, or of the deployment, in which the graph runs."""


class UnknownJobError(UsageError):
    """The file contains no job with this handle."""


class UnknownThreadError(UsageError):
    """A Runner holds no thread of this handle: none was submitted, and none has a checkpoint."""


class BridgeUnreachableError(UsageError):
    """A LangGraph server does not let the user of this run reach the bridge."""


class CommandError(UsageError):
    """A command to a bridge on a LangGraph server does not exist or is invalid; it has no effect."""


class NondeterministicNodeError(UsageError):
    """A node builds other requests each time it runs again."""


class RunMismatchError(UsageError):
    """The same `run_id` was used with other inputs.

    Attributes:
        index: The position of the first input that differs, counted from 0.
    """

    def __init__(self, message: str, *, index: int) -> None:
        super().__init__(message)
        self.index = index


class GraphChangedError(UsageError):
    """A thread waits at a node that the graph no longer has, and would end there silently.

    Attributes:
        thread_id: The first such thread.
        node: The missing node; `outer/inner` is node `inner` of the subgraph at node `outer`.
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
    """A Batcher was closed while a caller waited, or is used after it was closed."""


class UnsupportedCallError(UsageError):
    """A wrapped client was called for something that a batch does not support."""


class SwallowedInterruptError(UsageError):
    """A node caught the interrupt that should have parked it, or raised another error in its place; nothing was sent.

    The node fails with it, and its return value is discarded. An error that the node raised is the `__cause__`.
    """


class LostStateError(UsageError):
    """A thread needs a value of an `UntrackedValue` channel, and the process that held the value has ended.

    Attributes:
        thread_id: The thread.
        node: The node, or nodes, at which it waits; empty if it was stopped between two steps.
        channels: The channels whose values are lost.
    """

    def __init__(self, message: str, *, thread_id: str = "", node: str = "", channels: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.thread_id = thread_id
        self.node = node
        self.channels = tuple(channels)


class BadPollResultError(UsageError):
    """The user's `poll` returned an invalid result. The batch stays in flight.

    Fix `poll` and run the same command again: it polls the batch again, and does not pay for it again.
    """


class BatchFailed(BatchBridgeError):
    """The batch has failed: the user's `poll` raises or returns this to end it.

    Every request of the batch without an outcome fails with its message. If `poll` raises any other exception, the
    batch stays in flight and is polled again.

    Args:
        message: The cause; the message of the requests' errors.
        code: The code of the requests' errors.
    """

    def __init__(self, message: str = "the batch failed", *, code: str = "batch_failed") -> None:
        super().__init__(message)
        self.code = code


class ConfigError(BatchBridgeError):
    """A configuration file cannot be read, or is invalid.

    Attributes:
        problems: The problems, one entry for each field.
    """

    def __init__(self, message: str, *, problems: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class JSONError(BatchBridgeError, TypeError):
    """A value is not valid JSON.

    Attributes:
        path: Its position inside the whole value, in Python syntax, e.g. `['messages'][0]['when']`.
    """

    def __init__(self, message: str, *, path: str) -> None:
        super().__init__(message)
        self.path = path


class MissingPackageError(BatchBridgeError, ModuleNotFoundError):
    """A required package is not installed."""


class LegLostError(BatchBridgeError):
    """A process of a pool continued a thread that another process runs by now; it changes nothing."""


class SubmittedThreadError(BatchBridgeError):
    """A thread that was submitted to a Runner has failed, in this process or in one before it.

    Attributes:
        thread_id: The thread.
    """

    def __init__(self, message: str, *, thread_id: str) -> None:
        super().__init__(message)
        self.thread_id = thread_id


class RunFileError(BatchBridgeError):
    """The Runner's file is damaged, locked or unreachable."""


class StoreInUseError(BatchBridgeError):
    """Another Runner, or a LangGraph deployment, owns a bridge or a run in this store; two would pay twice.

    Attributes:
        host: The machine on which the other Runner runs; empty if it is a deployment's.
        pid: Its process; 0 if it is a deployment's.
    """

    def __init__(self, message: str, *, host: str = "", pid: int = 0) -> None:
        super().__init__(message)
        self.host = host
        self.pid = pid


class Stalled(BatchBridgeError):
    """Every call of the providers has failed for `give_up_after=` of a `Runner` or `Batcher`.

    Nothing is lost: once the cause is fixed, the same command continues with the batches that are in flight.

    Attributes:
        problem: The last failure.
        seconds: How long every call has failed.
    """

    def __init__(self, message: str, *, problem: str = "", seconds: float = 0.0) -> None:
        super().__init__(message)
        self.problem = problem
        self.seconds = seconds


class CacheError(BatchBridgeError):
    """The response cache's file is damaged, locked, unreachable, or belongs to another program."""


class LedgerError(BatchBridgeError):
    """The ledger contains data that cannot be read, or that a newer version wrote."""


class ProviderError(BatchBridgeError):
    """A provider reports a failed call to the engine.

    A provider raises one of the subclasses. Any other exception of its `submit` fails the requests of the
    batch; after any other exception of its `poll` the batch stays in flight and is polled again. The text is
    logged, so it must describe the provider's service, and must not quote an item or an answer.
    """


class ProviderUnavailable(ProviderError):
    """The call had no effect, and may be repeated later.

    Attributes:
        retry_after: Seconds for which the provider asked to wait, if it did.
        is_full: It refused the batch because too much is queued there (a 429); it may accept a smaller one.
    """

    def __init__(self, message: str, *, retry_after: float | None = None, is_full: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.is_full = is_full


class SubmissionUnknown(ProviderError):
    """The batch may or may not have been created; the engine looks for it before it sends anything again.

    Attributes:
        code: What its requests end with if it cannot be looked for. Those with another code than `submission_unknown`
            are sent again, and may be paid twice.
    """

    def __init__(self, message: str, *, code: str = "submission_unknown") -> None:
        super().__init__(message)
        self.code = code


class SubmissionRefused(ProviderError):
    """Nothing was created, and repeating the call does not help.

    Attributes:
        code: The provider's code, which becomes the code of the batch's requests.
        status_code: The HTTP status of the refusal, if there was one.
    """

    def __init__(self, message: str, *, code: str = "submit_failed", status_code: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.status_code = status_code


class ResponseRejected(ProviderError):
    """A provider's response exceeds a limit (`ResponseLimits`), leads to another host, or names no batch or file.

    If a poll raises it, the batch stays in flight until `poll_patience` has expired, because its answers are paid for.
    """


class RequestRefused(BatchBridgeError):
    """One request cannot be sent; other requests are not affected.

    Attributes:
        code: The code of the request's error.
    """

    def __init__(self, message: str, *, code: Literal["item_too_large", "invalid_item"] = "invalid_item") -> None:
        super().__init__(message)
        self.code = code
