"""A whole answer as a stream has it: one chunk, the last."""

from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult


def chunk_of(message: BaseMessage) -> AIMessageChunk:
    """Return a message as the only chunk of a stream: what is parsed of it, such as calls of tools, stays as it is."""
    if isinstance(message, AIMessageChunk):
        return message
    fields = {name: getattr(message, name) for name in type(message).model_fields if name != "type"}
    return AIMessageChunk(**fields, **(message.model_extra or {}), chunk_position="last")


def generation_chunk(result: ChatResult) -> ChatGenerationChunk:
    """Return the first answer of a result as the only chunk of a stream."""
    generation = result.generations[0]
    chunk = chunk_of(generation.message)
    chunk.response_metadata = {**(result.llm_output or {}), **chunk.response_metadata}
    return ChatGenerationChunk(message=chunk, generation_info=generation.generation_info)
