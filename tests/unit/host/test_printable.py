"""Text of records on a terminal, without control characters."""

import json

from hypothesis import given
from hypothesis import strategies as st

from flows.host.printable import printable, printable_json, printable_lines


@given(st.text())
def test_every_character_that_is_not_printable_is_escaped(text):
    assert printable(text).isprintable()


@given(st.text())
def test_a_printable_text_is_not_changed(text):
    assert printable(printable(text)) == printable(text)


@given(st.text())
def test_of_several_lines_the_line_ends_stay(text):
    assert printable_lines(text).count("\n") == text.count("\n")


@given(st.text())
def test_an_escaped_json_document_has_the_same_value_and_no_control_characters(text):
    document = printable_json(json.dumps(text, ensure_ascii=False).encode())
    assert json.loads(document) == text
    assert not {chr(code) for code in [*range(0x20), *range(0x7F, 0xA0)]} & set(document.decode())
