"""What requests cost, by hand from the providers' price pages, read in October and November 2026; US dollars a million."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from batch_bridge import Price, Prices
from batch_bridge._core.models import Errored, Succeeded
from batch_bridge._money import Account, Tokens, Who, read_usage, receipt, shown
from batch_bridge._money.receipt import rows

NOW = datetime(2026, 11, 20, tzinfo=UTC)
MILLION = 1_000_000


def chat(model, given, made, cached=0, **more):
    details = {"prompt_tokens_details": {"cached_tokens": cached}} if cached else {}
    return {"model": model, "usage": {"prompt_tokens": given, "completion_tokens": made, **details}, **more}


def claude(model, given, made, *, read=0, written=0, hour=0):
    usage = {"input_tokens": given, "output_tokens": made, "cache_read_input_tokens": read}
    usage |= {"cache_creation_input_tokens": written, "cache_creation": {"ephemeral_1h_input_tokens": hour}}
    return {"type": "message", "model": model, "usage": usage}


def gemini(model, given, made, thoughts=0, cached=0):
    usage = {"promptTokenCount": given, "candidatesTokenCount": made, "thoughtsTokenCount": thoughts}
    return {"modelVersion": model, "usageMetadata": {**usage, "cachedContentTokenCount": cached}}


OPENAI = "https://developers.openai.com/api/docs/pricing"
ANTHROPIC = "https://platform.claude.com/docs/en/about-claude/pricing"
GEMINI = "https://ai.google.dev/gemini-api/docs/pricing"

CASES = [
    # vendor, lane, answer, paid, in realtime, source
    # gpt-4o-mini: 0.15 in, 0.075 cached, 0.60 out; batch 0.075 and 0.30, with no rate of its own for cached tokens
    ("openai", "batch", chat("gpt-4o-mini", MILLION, MILLION), "0.375", "0.75", OPENAI),
    ("openai", "batch", chat("gpt-4o-mini-2024-07-18", MILLION, MILLION, 500_000), "0.375", "0.7125", OPENAI),
    # gpt-5: 1.25, 0.125 cached, 10; batch and flex 0.625, 0.0625, 5. Reasoning is output
    ("openai", "batch", chat("gpt-5", MILLION, MILLION, 400_000), "5.40", "10.80", OPENAI),
    ("openai", "realtime", chat("gpt-5", MILLION, MILLION, 400_000, service_tier="flex"), "5.40", "10.80", OPENAI),
    ("openai", "realtime", chat("gpt-5", MILLION, MILLION, service_tier="default"), "11.25", "11.25", OPENAI),
    # text-embedding-3-small: 0.02, in a batch 0.01
    (
        "openai",
        "batch",
        {"model": "text-embedding-3-small", "usage": {"prompt_tokens": MILLION}},
        "0.01",
        "0.02",
        OPENAI,
    ),
    # Claude Haiku 4.5: 1 in, 1.25 written for five minutes, 2 for an hour, 0.10 read, 5 out; half of all that in a batch
    ("anthropic", "batch", claude("claude-haiku-4-5-20251001", MILLION, MILLION), "3", "6", ANTHROPIC),
    (
        "anthropic",
        "batch",
        claude("claude-haiku-4-5", MILLION, MILLION, read=2_000_000, written=1_000_000, hour=400_000),
        "3.875",  # half of 1 + 5 + 0.2 + 0.6 * 1.25 + 0.4 * 2
        "7.75",
        ANTHROPIC,
    ),
    # Claude Opus 4.1 has no batch prices in the list: the table of discounts says half of everything
    (
        "anthropic",
        "batch",
        claude("claude-opus-4-1-20250805", 100_000, 10_000, read=100_000),
        "1.20",
        "2.40",
        ANTHROPIC,
    ),
    # Gemini 2.5 Flash: 0.30 in, 0.03 cached, 2.50 out with thoughts; batch 0.15 and 1.25, cached as in realtime
    ("google", "batch", gemini("gemini-2.5-flash", MILLION, 300_000, 700_000), "1.40", "2.80", GEMINI),
    ("google", "batch", gemini("models/gemini-2.5-flash", MILLION, MILLION, 0, 500_000), "1.34", "2.665", GEMINI),
    # Gemini 2.5 Pro costs more for a prompt of over 200,000 tokens; each request is priced by its own
    ("google", "batch", gemini("gemini-2.5-pro", 100_000, 10_000), "0.1125", "0.225", GEMINI),
    ("google", "batch", gemini("gemini-2.5-pro", 300_000, 10_000), "0.45", "0.90", GEMINI),
    # after a deadline the request is answered at once, for the full price
    ("openai", "realtime", chat("gpt-4o-mini", MILLION, MILLION), "0.75", "0.75", OPENAI),
    # what costs nothing is counted as saved
    ("openai", "cache_hit", chat("gpt-4o-mini", MILLION, MILLION), "0", "0.75", OPENAI),
    ("openai", "deduplicated", chat("gpt-4o-mini", MILLION, MILLION), "0", "0.75", OPENAI),
]


@pytest.mark.parametrize("case", CASES)
def test_a_request_costs_what_the_price_page_says(case):
    vendor, lane, answer, paid, list_price, source = case
    used = read_usage(answer)
    charge = Prices().charge(vendor, used.model, used.tokens, lane=lane, tier=used.tier, at=NOW)
    assert (charge.paid, charge.list_price) == (Decimal(paid), Decimal(list_price)), source


UNKNOWN = [
    ("openai", "my-own-model", "nobody lists it"),
    ("openai", "", "the answer names no model"),
    (None, "gpt-4o-mini", "nobody says who has answered: a pair of functions, a server of one's own"),
    ("nobody", "gpt-4o-mini", "no such provider"),
]


@pytest.mark.parametrize(("vendor", "model", "why"), UNKNOWN)
def test_a_price_that_is_not_known_is_none_and_never_zero(vendor, model, why):
    charge = Prices().charge(vendor, model, Tokens(10, 10), lane="batch", tier="", at=NOW)
    assert (charge.paid, charge.list_price) == (None, None), why


def test_a_model_without_a_price_for_what_was_used_is_unknown():
    embedding = Prices().charge("openai", "text-embedding-3-small", Tokens(10, 10), lane="batch", tier="", at=NOW)
    assert embedding.paid is None
    assert embedding.list_price is None


def test_own_prices_win_and_zero_is_a_price_where_it_was_written_down():
    prices = Prices(
        {
            "gpt-4o-mini": Price(input=1, output="2.5", cached="0.1"),
            "local": Price(input=0, output=0),
            "half": Price(input=1, output=1, batch="0.8"),
        }
    )

    def paid(vendor, model, tokens, lane="batch"):
        return prices.charge(vendor, model, tokens, lane=lane, tier="", at=NOW).paid

    assert paid("openai", "gpt-4o-mini", Tokens(MILLION, MILLION, 500_000)) == Decimal("1.525")
    assert paid("openai", "gpt-4o-mini", Tokens(MILLION, MILLION, 500_000), "realtime") == Decimal("3.05")
    assert paid(None, "half", Tokens(MILLION, 0)) == Decimal("0.8")
    assert paid(None, "local", Tokens(MILLION, MILLION), "realtime") == 0
    assert paid(None, "local", Tokens(MILLION, MILLION)) is None, "what a batch costs of it, nobody has said"
    assert paid("openai", "gpt-5", Tokens(MILLION, 0)) == Decimal("0.625"), "the others are looked up"


def test_another_currency_is_never_mixed_with_dollars():
    euros = Prices({"m": Price(input=1, output=1, batch=1)}, currency="eur")
    assert euros.charge("openai", "gpt-4o-mini", Tokens(10, 10), lane="batch", tier="", at=NOW).paid is None
    line = _account({"model": "m", "usage": {"prompt_tokens": MILLION, "completion_tokens": 0}}).each()
    dollars = _account(chat("gpt-4o-mini", MILLION, 0)).each()
    cost = receipt([(euros, list(line))])
    assert (cost.paid, cost.currency, shown(cost.paid, cost.currency)) == (1, "EUR", "1.0000 EUR")
    mixed = receipt([(euros, list(_account(chat("m", 5, 5)).each())), (Prices(), list(dollars))])
    assert (mixed.paid, mixed.currency, mixed.unknown) == (None, "", 2)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (lambda: Price(input="much", output=1), TypeError),
        (lambda: Price(input=-1, output=1), ValueError),
        (lambda: Price(input=float("nan"), output=1), ValueError),
        (lambda: Prices({"m": 3}), TypeError),
        (lambda: Prices(currency="dollars"), ValueError),
    ],
)
def test_prices_that_are_none_are_refused(given, error):
    with pytest.raises(error):
        given()


def _account(*answers, thread="t"):
    account = Account(NOW, "openai", tuple(Who(f"{thread}{n}", "run", "node") for n in range(len(answers))))
    requests = [f"r{n}" for n in range(len(answers))]
    account.know(requests, requests)
    account.note(
        (member, Succeeded(answer) if isinstance(answer, dict) else answer)
        for member, answer in zip(requests, answers, strict=True)
    )
    account.lane = "batch"
    return account


def test_an_account_is_the_same_after_it_was_written_down():
    account = _account(chat("gpt-4o-mini", 100, 20, 50), chat("gpt-5", 7, 3), Errored("no"), {"text": "no usage"})
    account.worst = (Decimal("0.25"), None, Decimal(0), Decimal("0.000000000001"))
    again = Account.from_row(account.to_row())
    assert list(again.each()) == list(account.each())
    assert (again.counts(), again.worst) == (account.counts(), account.worst)


def test_an_answer_counts_once_however_often_it_is_read_and_what_failed_costs_nothing():
    account = _account(chat("gpt-4o-mini", MILLION, 0), Errored("refused", code="invalid_request"))
    account.note([("r0", Succeeded(chat("gpt-4o-mini", 5 * MILLION, 0)))])
    account.note([("stranger", Succeeded(chat("gpt-4o-mini", MILLION, 0)))])
    cost = receipt([(Prices(), account.each())])
    assert (cost.requests, cost.paid, cost.list_price) == (1, Decimal("0.075"), Decimal("0.15"))


def test_one_request_without_a_price_makes_the_whole_unknown_and_says_how_many_those_are():
    answers = [
        chat("gpt-4o-mini", MILLION, 0),
        chat("nobody", 5, 7),
        {"text": "no usage"},
        Errored("?", "unreadable_answer"),
    ]
    cost = receipt([(Prices(), _account(*answers).each())])
    assert (cost.paid, cost.saved, cost.unknown, cost.known) == (None, None, 3, Decimal("0.075"))
    assert cost.by_model["gpt-4o-mini"].paid == Decimal("0.075")
    assert (cost.by_model["nobody"].paid, cost.by_model["nobody"].output_tokens) == (None, 7)
    assert "3 of 4 requests have no price that is known" in str(cost)


def test_rows_name_whose_money_it_was():
    table = rows([("bridge", Prices(), _account(chat("gpt-4o-mini", MILLION, 0), chat("gpt-4o-mini", 0, 0)).each())])
    assert [(each["run"], each["thread"], each["label"], each["paid"]) for each in table] == [
        ("run", "t0", "node", Decimal("0.075")),
        ("run", "t1", "node", Decimal(0)),
    ]


def test_usage_is_read_of_langchain_messages_as_of_bodies():
    from langchain_core.messages import AIMessage

    from batch_bridge._core.json.messages import encode

    message = AIMessage(
        "hi",
        usage_metadata={
            "input_tokens": 100,
            "output_tokens": 30,
            "total_tokens": 130,
            "input_token_details": {"flex_cache_read": 40, "flex": 60},
            "output_token_details": {"flex_reasoning": 10, "flex": 20},
        },
        response_metadata={"model_name": "gpt-5"},
    )
    used = read_usage(encode(message))
    assert (used.model, used.tier, used.tokens) == ("gpt-5", "flex", Tokens(100, 30, 40, reasoning=10))


@pytest.mark.parametrize("answer", [None, "text", 5, {}, {"usage": None}, {"usage": {}}, [], {"usage": {"prompt": 1}}])
def test_an_answer_without_usage_has_none(answer):
    assert read_usage(answer) is None


def test_what_is_computed_plainly_is_what_the_list_of_prices_computes():
    from genai_prices import Usage
    from genai_prices.data import providers

    from batch_bridge._money.prices import _fitting, _plainly

    some = [Tokens(1000, 77), Tokens(9_999, 0, 1234), Tokens(5000, 10, 1000, 300), Tokens(5000, 10, 1000, 300, 200)]
    compared = 0
    for provider in providers:
        for model in provider.models:
            price = model.get_prices(NOW)
            for tokens in (_fitting(price, each) for each in some):
                if (plain := _plainly(price, tokens)) is None:
                    continue
                counts = {
                    "input_tokens": tokens.input,
                    "output_tokens": tokens.output,
                    "cache_read_tokens": tokens.cache_read,
                    "cache_write_tokens": tokens.cache_write + tokens.cache_write_1h,
                    "cache_write_1h_tokens": tokens.cache_write_1h,
                }
                used = Usage(**{name: count for name, count in counts.items() if count}, cache_audio_read_tokens=0)
                assert plain == price.calc_price(used)["total_price"], (provider.id, model.id, tokens)
                compared += 1
    assert compared > 1000
