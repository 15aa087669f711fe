"""What is seen of a file as Prometheus text."""

from collections.abc import Iterator, Mapping

from batch_bridge._status.models import Status


def metrics(status: Status) -> str:
    """Return it in Prometheus's text format. Source: https://prometheus.io/docs/instrumenting/exposition_formats/."""
    return "".join(f"{line}\n" for line in _lines(status))


def _lines(status: Status) -> Iterator[str]:
    threads = status.threads
    by_state = {"done": threads.done, "running": threads.running, "parked": threads.parked, "failed": threads.failed}
    yield from _gauge("threads", "Threads by state.", {f'state="{name}"': count for name, count in by_state.items()})
    yield from _gauge("queued_requests", "Requests that wait to be sent.", {"": status.queued})
    yield from _gauge("in_flight_requests", "Requests at the providers.", {"": status.in_flight})
    yield from _gauge("oldest_waiter_seconds", "Age of the oldest request.", {"": status.oldest_waiter or 0})
    batches: dict[str, float | None] = {'state="ended"': status.batches_ended}
    for batch in status.batches:
        if batch.state != "ended":
            label = f'state="{batch.state}"'
            batches[label] = (batches.get(label) or 0) + 1
    yield from _gauge("batches", "Batches by state.", batches)
    settled = {f'outcome="{_text(kind)}"': count for kind, count in status.outcomes.items()}
    yield from _gauge("settled_requests", "Requests that were settled through batches.", settled)
    failures: dict[str, float | None] = {}
    for each in status.failures:
        label = f'of="{each.of}",code="{_text(each.code)}"'
        failures[label] = (failures.get(label) or 0) + each.count
    yield from _gauge("failures", "Failures by code.", failures)
    yield from _gauge("owner_alive", "Whether a process has the file open.", {"": int(bool(status.owner.alive))})
    yield from _gauge("stuck", "What does not get on.", {"": len(status.stuck)})
    yield from _gauge("warnings", "What is to be known soon.", {"": len(status.warnings)})


def _gauge(name: str, what: str, values: Mapping[str, float | None]) -> Iterator[str]:
    yield f"# HELP batch_bridge_{name} {what}"
    yield f"# TYPE batch_bridge_{name} gauge"
    for labels, value in values.items():
        if value is not None:
            yield f"batch_bridge_{name}{f'{{{labels}}}' if labels else ''} {value}"


def _text(label: str) -> str:
    return label.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
