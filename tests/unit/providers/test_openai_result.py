import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_bridge._core.json.messages import decode
from batch_bridge._core.models import Cancelled, Errored, Expired, Succeeded
from batch_bridge.providers.openai._result import read_line

ID = "0123456789abcdef" * 2


def read(response=None, error=None, custom_id=ID):
    return read_line(orjson.dumps({"id": "b", "custom_id": custom_id, "response": response, "error": error}))


def failed(status, body, error=None):
    request_id, outcome = read({"status_code": status, "request_id": "r", "body": body}, error)
    assert request_id == ID
    return outcome


def test_an_answer_is_its_body():
    assert failed(200, {"a": 1}) == Succeeded({"a": 1})
    assert failed(201, {"a": 1}) == Succeeded({"a": 1})


@pytest.mark.parametrize("status", [0, 199, 300, 400, 401, 404, 408, 409, 429, 500, 503, None, "200", True, 200.5])
def test_any_status_but_2xx_is_an_error(status):
    outcome = failed(status, {"error": {"message": "no", "code": "c", "type": "t"}})
    assert isinstance(outcome, Errored)
    assert (outcome.message, outcome.code) == ("no", "c")
    number = 200 if status == "200" else status if type(status) is int else None
    assert outcome.status_code == number
    assert outcome.retryable == (number in (None, 0, 408, 409, 429, 500, 503))


def test_the_type_stands_in_for_a_missing_code():
    body = {"error": {"message": "bad", "type": "invalid_request_error", "code": None}}
    told = Errored("bad", "invalid_request_error", 400, body=body, provider_request_id="r")
    assert failed(400, body) == told


@pytest.mark.parametrize("body", [None, {}, [], 7, {"error": None}, {"error": {}}, {"error": 7}])
def test_an_error_without_words_still_says_something(body):
    outcome = failed(500, body)
    assert (outcome.message, outcome.code) == ("the request was answered with HTTP status 500", "http_500")


def test_other_shapes_of_errors_are_read_too():
    assert failed(400, {"error": "wrong"}).message == "wrong"
    assert failed(400, {"message": "wrong"}).message == "wrong"
    gone = Errored("gone", "upstream", 0, retryable=True, provider_request_id="r")
    assert failed(0, None, {"code": "upstream", "message": "gone"}) == gone
    wordless = "the request was answered with no HTTP status"
    assert failed(0, None) == Errored(wordless, "no_status", 0, retryable=True, provider_request_id="r")


def test_a_request_that_never_ran():
    assert read(error={"code": "batch_expired", "message": "too late"}) == (ID, Expired("too late"))
    assert read(error={"code": "batch_cancelled", "message": "stopped"}) == (ID, Cancelled("stopped"))
    assert isinstance(read(error={"code": "batch_expired"})[1], Expired)
    assert read(error={"code": "other", "message": "m"}) == (ID, Errored("m", "other"))
    outcome = read()[1]
    assert (outcome.code, outcome.retryable) == ("missing_result", True)


COMPLETION = {"id": "c", "model": "m", "choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}


def test_a_marked_answer_is_a_message():
    request_id, outcome = read({"status_code": 200, "body": COMPLETION}, custom_id=f"{ID}-m")
    assert request_id == ID
    message = decode(outcome.answer)
    assert (message.type, message.content, message.id) == ("ai", "Hi", "c")


def test_a_marked_answer_of_the_other_api_is_a_message():
    item = {"type": "message", "id": "msg", "content": [{"type": "output_text", "text": "Hi"}]}
    body = {"id": "resp", "model": "m", "output": [item]}
    _, outcome = read({"status_code": 200, "body": body}, custom_id=f"{ID}-m")
    assert decode(outcome.answer).text == "Hi"


@pytest.mark.parametrize("body", [None, 7, "x", [], {}, {"choices": []}, {"output": None}, {"output": [7]}])
def test_a_marked_answer_that_is_no_message_is_an_error(body):
    _, outcome = read({"status_code": 200, "body": body}, custom_id=f"{ID}-m")
    assert (outcome.code, outcome.status_code) == ("unexpected_answer", 200)


def test_a_marked_answer_that_is_an_error():
    body = {"output": [], "error": {"code": "server_error", "message": "broke"}}
    _, outcome = read({"status_code": 200, "body": body}, custom_id=f"{ID}-m")
    assert outcome == Errored("broke", "server_error", 200, body=body)


@pytest.mark.parametrize(
    "line", [b"", b"{", b"[]", b"7", b"null", b"{}", b'{"custom_id":7}', b'{"custom_id":"a', b"\xff"]
)
def test_what_names_no_request_is_put_aside(line):
    assert read_line(line) is None


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)
status = st.sampled_from([200, 200, 400, 0, None]) | anything
error = anything | st.fixed_dictionaries({}, optional={"code": anything, "message": anything, "type": anything})
message = st.fixed_dictionaries({}, optional={"content": anything, "tool_calls": anything, "refusal": anything})
body = anything | st.fixed_dictionaries(
    {},
    optional={
        "error": error,
        "choices": st.lists(st.fixed_dictionaries({}, optional={"message": message | anything}), max_size=1) | anything,
        "output": st.lists(st.fixed_dictionaries({"type": st.just("message")}, optional={"content": anything}))
        | anything,
        "usage": anything,
    },
)
response = anything | st.fixed_dictionaries({}, optional={"status_code": status, "body": body})
custom_id = st.sampled_from([ID, f"{ID}-m"]) | anything


@given(
    anything | st.fixed_dictionaries({}, optional={"custom_id": custom_id, "response": response, "error": error}),
)
def test_any_line_is_an_outcome_or_put_aside(value):
    pair = read_line(orjson.dumps(value))
    if pair is not None:
        request_id, outcome = pair
        assert isinstance(request_id, str)
        match outcome:
            case Succeeded(answer):
                orjson.dumps(answer)
            case Errored(text, code, number):
                assert isinstance(text, str)
                assert text
                assert isinstance(code, str)
                assert code
                assert number is None or type(number) is int
            case Expired(text) | Cancelled(text):
                assert isinstance(text, str)


@given(st.binary(max_size=60))
def test_any_bytes_are_put_aside_or_read(line):
    read = read_line(line)
    assert read is None or isinstance(read[1], Succeeded | Errored | Expired | Cancelled)


def test_an_answer_with_half_a_surrogate_pair_is_not_lost():
    line = b'{"custom_id": "%s", "response": {"status_code": 200, "body": {"text": "a\\ud83d"}}, "error": null}' % (
        b"a" * 32
    )
    assert read_line(line) == ("a" * 32, Succeeded({"text": "a\ud83d"}))
