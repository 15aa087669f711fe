"""What a second Runner on one store is told."""

from batch_bridge._ledger.claims import _refused


def test_the_error_of_two_runners_on_one_store_names_the_pool():
    error = _refused("bridge 'b'", {"pid": 7, "host": "here"})
    assert "batch_bridge.pool.Pool" in str(error)
    assert (error.pid, error.host) == (7, "here")
