"""Text laid out for a width: nothing is wider than the terminal, and nothing but the marked columns is cut."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from dregutil.report.layout import Column, cells, cut, laid_out, painted, table_lines, wrapped

COLUMNS = (
    Column("REPOSITORY", cut="middle", least=10),
    Column("TAG", cut="middle", least=8),
    Column("SIZE", right=True),
    Column("PLATFORMS", cut="end", least=8),
)
ROWS = (
    ("shop/web", "1.2.0", "184 MB", "linux/amd64, linux/arm64"),
    ("a-long-group/with-a-long-name/and-more", "2024-11-26-nightly-build-1234", "9 B", "linux/amd64"),
)
CHARACTERS = st.characters(codec="utf-8", exclude_categories=("C", "Z"))
WORDS = st.text(CHARACTERS, min_size=1, max_size=12)
PROSE = st.lists(st.one_of(WORDS, st.sampled_from(["`", " ", "REMOVE ", "\n", "KEEP"])), max_size=20).map(" ".join)


def test_without_a_width_each_column_is_as_wide_as_its_longest_cell() -> None:
    assert list(table_lines(COLUMNS, ROWS)) == [
        "REPOSITORY                              TAG                              SIZE  PLATFORMS",
        "shop/web                                1.2.0                          184 MB  linux/amd64, linux/arm64",
        "a-long-group/with-a-long-name/and-more  2024-11-26-nightly-build-1234     9 B  linux/amd64",
    ]


def test_the_widest_columns_are_cut_first() -> None:
    assert list(table_lines(COLUMNS, ROWS, width=80)) == [
        "REPOSITORY              TAG                        SIZE  PLATFORMS",
        "shop/web                1.2.0                    184 MB  linux/amd64, linux/arm…",
        "a-long-grou…e/and-more  2024-11-26-…-build-1234     9 B  linux/amd64",
    ]


def test_a_table_without_rows_has_no_titles() -> None:
    assert list(table_lines(COLUMNS, [])) == []


def test_a_line_break_in_a_cell_is_escaped() -> None:
    assert list(table_lines((Column("TAG"),), [("a\nb\x1b[31m",)]))[1] == "a\\nb\\x1b[31m"


@given(st.integers(44, 250), st.lists(st.tuples(*(st.text(CHARACTERS, max_size=30),) * 4), max_size=5))
def test_no_row_is_wider_than_the_terminal_if_its_columns_can_be_cut(width: int, rows: list[tuple[str, ...]]) -> None:
    rows = [(*row[:2], row[2][:4], row[3]) for row in rows]
    assert all(cells(line) <= width for line in table_lines(COLUMNS, rows, width=width))


@given(st.text(CHARACTERS, max_size=40), st.integers(0, 40), st.sampled_from(["end", "middle"]))
def test_a_cut_text_fits(text: str, width: int, where: str) -> None:
    shown = cut(text, width, where)
    assert cells(shown) <= width
    assert shown == text or "…" in shown or not width
    assert cells(text) > width or shown == text


def test_wide_characters_take_two_cells() -> None:
    assert cells("日本") == 4
    assert cut("日本語の名前", 6) == "日本…"
    assert cells("e\u0301") == 1


def test_prose_is_wrapped_at_words_and_its_later_lines_are_indented() -> None:
    text = "3 of 20 tags go, 1 held back, because of a rule that is named here"
    assert list(wrapped(text, 30)) == ["3 of 20 tags go, 1 held back,", "  because of a rule that is", "  named here"]
    assert list(wrapped(f"  {text}", 30))[1] == "    back, because of a rule"


def test_a_command_to_copy_is_not_broken_if_it_fits() -> None:
    text = "the plan is in nightly.plan; `dregutil apply nightly.plan -reg prod` carries it out"
    assert list(wrapped(text, 60)) == [
        "the plan is in nightly.plan;",
        "  `dregutil apply nightly.plan -reg prod` carries it out",
    ]


@given(PROSE, st.integers(20, 80))
def test_wrapping_keeps_every_word(text: str, width: int) -> None:
    text = text.replace("\n", " ")
    assert "".join("".join(wrapped(text, width)).split()) == "".join(text.split())
    assert all(cells(line) <= width or " " not in line.strip() for line in wrapped(text, width))


def test_the_words_that_say_what_happens_are_in_color() -> None:
    assert painted("REMOVE  sha256:3f1c9a  1.2") == "\x1b[31mREMOVE\x1b[0m  sha256:3f1c9a  1.2"
    assert painted("KEEP    1.3") == "\x1b[32mKEEP\x1b[0m    1.3"
    assert painted("dregutil: warning: no records") == "\x1b[33mdregutil: warning:\x1b[0m no records"
    assert painted("dregutil: no repository") == "\x1b[31mdregutil:\x1b[0m no repository"
    assert painted("REPOSITORY  TAG") == "\x1b[1mREPOSITORY  TAG\x1b[0m"
    assert painted("REMOVED by hand") == "REMOVED by hand"
    assert painted("shop/web  1.0") == "shop/web  1.0"


@given(PROSE)
def test_color_changes_no_character(text: str) -> None:
    colored = laid_out(text, width=40, is_colored=True)
    assert re.sub(r"\x1b\[\d+m", "", colored) == laid_out(text, width=40, is_colored=False)


def test_the_space_after_a_question_stays() -> None:
    text = laid_out("Remove 8 tags (20 manifests) of 2 repositories? [y/N] ", width=30, is_colored=False)
    assert text == "Remove 8 tags (20 manifests)\n  of 2 repositories? [y/N] "
