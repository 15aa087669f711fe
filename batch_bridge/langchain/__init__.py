"""LangChain's chat models, batched.

::

from batch_bridge.langchain import batched

agent = create_agent(batched(ChatOpenAI(model="gpt-4o-mini")), tools=[...])
"""

from batch_bridge.langchain._batched import batched

__all__ = ["batched"]
