"""Batches that no process waits for."""

from batch_bridge.jobs._jobs import BatchStatus, JobResult, Jobs, JobStatus

__all__ = ["BatchStatus", "JobResult", "JobStatus", "Jobs"]
