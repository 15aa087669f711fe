"""Money: what requests cost, what they may cost, and a limit that holds. Its core knows no LangGraph."""

from batch_bridge._money._account import Account, Line, Who, of_hit
from batch_bridge._money._budget import Budget
from batch_bridge._money._estimate import Ask, likely, worst
from batch_bridge._money._prices import Charge, Lane, Price, Prices
from batch_bridge._money._purse import Part, Purse, Refusal
from batch_bridge._money._quote import Quote, Range, choose, of_asks, of_sample
from batch_bridge._money._receipt import Cost, CostLine, receipt, rows, shown
from batch_bridge._money._tokens import Tokens, Used, read_usage

__all__ = [
    "Account",
    "Ask",
    "Budget",
    "Charge",
    "Cost",
    "CostLine",
    "Lane",
    "Line",
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
    "choose",
    "likely",
    "of_asks",
    "of_hit",
    "of_sample",
    "read_usage",
    "receipt",
    "rows",
    "shown",
    "worst",
]
