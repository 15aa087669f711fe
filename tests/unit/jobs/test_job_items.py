"""The names of a job's items."""

from batch_bridge.jobs._job_items import named

LINE = {"custom_id": "q1", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": []}}
TALK = [{"role": "user", "content": "hi"}]


def test_names_are_the_custom_ids_and_the_items_stay_as_they_are():
    items = [LINE, {**LINE, "custom_id": 7}, {"body": {}}, TALK, {**LINE, "custom_id": None}]
    assert named(items) == [("q1", items[0]), ("7", items[1]), *((None, each) for each in items[2:])]
