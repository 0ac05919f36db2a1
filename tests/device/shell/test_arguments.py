"""The parser of command lines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsnic.device.shell.arguments import (
    Argument,
    Kind,
    Option,
    parse,
    parse_number,
    parse_seconds,
    split,
    usage,
)
from tlsnic.device.shell.errors import UsageError
from tlsnic.device.shell.table import COMMANDS

NAMES = Argument("names", Kind.REGISTER, required=False, many=True)
COUNT = Option("--count", Kind.NUMBER)
ALL = Option("--all")


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("12", 12), ("007", 7), ("0x1F", 31), ("0b101", 5), ("0o17", 15), ("1_000", 1000)],
)
def test_numbers(text, value):
    assert parse_number(text) == value


@pytest.mark.parametrize("text", ["", "-1", "x", "0x", "1.5", "1e3", "٣", "0x1g", "_1", "1__0"])
def test_what_is_no_number(text):
    with pytest.raises(UsageError):
        parse_number(text)


@pytest.mark.parametrize(
    ("text", "value"), [("1", 1), ("0.5", 0.5), ("200ms", 0.2), ("2s", 2), ("1m", 60), (".5", 0.5)]
)
def test_durations(text, value):
    assert parse_seconds(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "-1", "1h", "s", "inf", "nan"])
def test_what_is_no_duration(text):
    with pytest.raises(UsageError):
        parse_seconds(text)


def test_words_and_options_in_any_order():
    given_words = parse(["a", "--all", "b", "--count", "3", "c"], [NAMES], [COUNT, ALL])
    assert given_words.words("names") == ["a", "b", "c"]
    assert given_words.flag("all")
    assert given_words.number("count") == 3
    assert parse(["--count=0x10"], [NAMES], [COUNT]).number("count") == 16


def test_two_dashes_end_the_options():
    assert parse(["--", "--all"], [NAMES], [ALL]).words("names") == ["--all"]


def test_rest_of_the_line_keeps_its_options():
    line = Argument("line", Kind.LINE)
    values = parse(["--count", "2", "flows", "--count", "9"], [line], [COUNT])
    assert (values.number("count"), values.words("line")) == (2, ["flows", "--count", "9"])


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--nothing"], "there is no option"),
        (["--all=1"], "takes no value"),
        (["--count"], "needs a value"),
        (["--count", "x"], "no count"),
    ],
)
def test_bad_options_are_named(words, part):
    with pytest.raises(UsageError, match=part):
        parse(words, [NAMES], [COUNT, ALL])


def test_missing_words_and_those_too_many_are_named():
    one = Argument("handle", Kind.HANDLE)
    with pytest.raises(UsageError, match="HANDLE is missing"):
        parse([], [one], [])
    with pytest.raises(UsageError, match="too much: '2'"):
        parse(["1", "2"], [one], [])
    with pytest.raises(UsageError, match="none of: start, stop"):
        parse(["x"], [Argument("action", choices=("start", "stop"))], [])


def test_usage_line_has_everything():
    line = usage("show", [Argument("kind", choices=("a", "b")), NAMES], [COUNT, ALL])
    assert line == "show [--count N] [--all] a|b [NAMES…]"


def test_quotations_without_an_end():
    with pytest.raises(UsageError, match="quotation"):
        split("registers 'TX")
    with pytest.raises(UsageError, match="backslash"):
        split("registers \\")


@given(st.sampled_from(sorted(COMMANDS)), st.text(max_size=60))
def test_every_line_is_parsed_or_refused_with_its_reason(name, text):
    """Never another exception, whatever is typed."""
    command = COMMANDS[name]
    try:
        arguments = command.parse(split(text))
    except UsageError:
        return
    for argument in command.arguments:
        if argument.many or argument.kind is Kind.LINE:
            arguments.words(argument.name)
        elif arguments.given(argument.name):
            assert not argument.choices or arguments.text(argument.name) in argument.choices


@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1), max_size=5)
)
def test_quoted_words_come_back(words):
    quoted = " ".join("'" + word.replace("'", "'\"'\"'") + "'" for word in words)
    assert split(quoted) == words
