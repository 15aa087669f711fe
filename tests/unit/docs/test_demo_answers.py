"""The demo's answers: by rule, from the text itself."""

from demo_answers import answer, audience, keywords, summary


def ask(question, text):
    return answer(
        "/v1/chat/completions",
        {"messages": [{"role": "system", "content": question}, {"role": "user", "content": text}]},
    )


TEXT = """Walk a directory tree. For each directory in the tree it yields names.

The directory tree may hold links."""


def test_each_question_has_its_rule():
    assert ask("Say in one sentence what this does.", TEXT) == summary(TEXT) == "Walk a directory tree."
    assert ask("Give three keywords, separated by commas.", TEXT) == keywords(TEXT) == "directory, tree, walk"
    assert (
        ask("Who needs this: …", "Override this in a subclass.")
        == audience("Override this in a subclass.")
        == "library author"
    )
    notes = "summary: Walk a directory tree.\naudience: beginner\nkeywords: directory, tree"
    assert ask("Write a catalogue entry for os.walk from these notes.", notes) == (
        "Walk a directory tree. For: beginner. Keywords: directory, tree."
    )


def test_a_text_without_a_sentence_or_a_word_is_answered_too():
    assert summary("no end") == "no end"
    assert keywords("a b c") == "none"
    assert audience("") == "application programmer"
