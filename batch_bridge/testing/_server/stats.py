"""What a server has seen and done."""

from dataclasses import dataclass, field, fields
from typing import Any, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Counters since the state folder was made, or since the last reset.

    Attributes:
        requests: Lines of the batches that passed validation.
        executed: Lines that ran, whatever their status.
        paid: Lines that ran and were answered with 2xx: what a provider bills.
        paid_twice: Paid lines whose (API key, `custom_id`, url, body) had been paid before.
        bodies_repeated: Paid lines whose (API key, url, body) had been paid before under another `custom_id`.
        failed: Lines that ran and were answered with anything else.
        expired: Lines that never ran because their batch expired.
        cancelled: Lines that never ran because their batch was cancelled.
        batches: Batches created, the ones that are not visible yet too.
        batches_by_status: The same by their present status.
        realtime: Requests answered outside of batches.
        flex: Those of them that the flex tier has answered.
        flex_refused: Calls of the flex tier that were refused for want of capacity; not billed.
        responses: Responses created in the background. Those that were answered are among `executed` and `paid`.
        responses_by_status: The same by their present status; those that run are `live`.
        input_bytes: Bytes of batches' inputs, as they were sent: a file, or the body that made the batch.
        input_tokens: Tokens of paid lines, as their `usage` says.
        output_tokens: The same for the answers.
        calls: HTTP calls by route, e.g. `"GET /v1/batches/{batch_id}"`; since the process started or the
            last reset.
        faults: How often each fault hit; since the process started or the last reset.
    """

    requests: int = 0
    executed: int = 0
    paid: int = 0
    paid_twice: int = 0
    bodies_repeated: int = 0
    failed: int = 0
    expired: int = 0
    cancelled: int = 0
    batches: int = 0
    batches_by_status: dict[str, int] = field(default_factory=dict)
    realtime: int = 0
    flex: int = 0
    flex_refused: int = 0
    responses: int = 0
    responses_by_status: dict[str, int] = field(default_factory=dict)
    input_bytes: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    calls: dict[str, int] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)

    @classmethod
    def from_wire(cls, data: dict[str, Any]) -> Self:
        """Stats from the control route's JSON; what this version does not know is left out."""
        return cls(**{f.name: data[f.name] for f in fields(cls) if f.name in data})
