"""Money: what requests cost, what they may cost, and a limit that holds. Its core knows no LangGraph."""

from batch_bridge._core.models import Ask
from batch_bridge._money.account import Account, AccountLine, Who, of_hit, who_asked
from batch_bridge._money.askers import Askers
from batch_bridge._money.budget import Budget
from batch_bridge._money.discounts import share_of
from batch_bridge._money.estimate import likely, worst
from batch_bridge._money.prices import Charge, Lane, Price, Prices
from batch_bridge._money.purse import Part, Purse, Refusal
from batch_bridge._money.quote import Quote, Range, choose, of_asks, of_sample
from batch_bridge._money.receipt import Cost, CostLine, add_up, receipt, rows, shown
from batch_bridge._money.tokens import Tokens, Used, read_usage

__all__ = [
    "Account",
    "AccountLine",
    "Ask",
    "Askers",
    "Budget",
    "Charge",
    "Cost",
    "CostLine",
    "Lane",
    "Part",
    "Price",
    "Prices",
    "Purse",
    "Quote",
    "Range",
    "Refusal",
    "Tokens",
    "Used",
    "Who",
    "add_up",
    "choose",
    "likely",
    "of_asks",
    "of_hit",
    "of_sample",
    "read_usage",
    "receipt",
    "rows",
    "share_of",
    "shown",
    "who_asked",
    "worst",
]
