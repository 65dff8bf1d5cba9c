"""Markdown from data: tables, and text that stays text."""

import re

from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml

from flows.core.exporting.markdown import cell, escaped, items, table

MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])
printable = st.characters(min_codepoint=32, max_codepoint=0x2FFF, exclude_categories=("Cc", "Cs", "Cf"))
texts = st.text(st.sampled_from("ab1 _*`[]()<>|&~#-+=.!\\\n") | printable, max_size=30)


def plain(text: str) -> str:
    return " ".join(text.split())


@settings(deadline=None)
@given(texts.filter(plain))
@example("__a__ a_b_c _x")
@example("1. a")
@example("- a")
@example("&amp; ![a](b)")
def test_escaped_text_is_read_as_itself(text: str) -> None:
    assert MARKDOWN.render(escaped(text)) == f"<p>{escapeHtml(plain(text))}</p>\n"


@settings(deadline=None)
@given(texts.filter(plain))
def test_a_cell_is_read_as_its_text(text: str) -> None:
    found = re.findall("<td>(.*)</td>", MARKDOWN.render(table(("a", "b"), [(text, "z")])))
    assert found == [escapeHtml(plain(text)), "z"]


def test_a_cell_cannot_add_a_column() -> None:
    rows = table(("a", "b"), [("x|y", "z\n|w|")]).splitlines()
    assert len(rows) == 3
    assert [len(re.findall(r"(?<!\\)\|", row)) for row in rows] == [3, 3, 3]


def test_numbers_are_short_and_what_is_missing_is_a_dash() -> None:
    assert [cell(value) for value in (None, float("inf"), 0.25, 12_345_678.9, 1000, True)] == [
        "-",
        "-",
        "0.25",
        "1.235e+07",
        "1,000",
        "True",
    ]


def test_a_table_without_rows_says_so() -> None:
    assert table(("a",), []) == "None."


def test_a_list_has_a_bullet_for_each_text() -> None:
    assert items(["a", "b"]) == "- a\n- b"
