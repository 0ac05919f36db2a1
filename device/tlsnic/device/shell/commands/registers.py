"""registers, read, write, snapshot, diff: the card's registers by name."""

from collections.abc import Sequence
from typing import Any, Final

from rich.console import RenderableType

from tlsnic.abi import descriptions
from tlsnic.abi.layout import Access, Field
from tlsnic.device.shell import decode
from tlsnic.device.shell.arguments import Argument, Arguments, Kind, Option
from tlsnic.device.shell.command import YES, Command, Example, Result
from tlsnic.device.shell.decode import Place
from tlsnic.device.shell.errors import ShellError, UsageError
from tlsnic.device.shell.render import cell, note, pairs, table, titled
from tlsnic.device.shell.shell import Moment, Shell

LAST: Final = "last"
"""Name of a snapshot that was given none."""
_DETAILED: Final = 6
"""So many registers are shown with all their fields without being asked for it."""


def values_of(shell: Shell, places: Sequence[Place]) -> dict[Place, int]:
    """Values of registers, without side effects; those with side effects are left out."""
    values: dict[Place, int] = {}
    for bar in decode.BARS:
        of_bar = [place for place in places if place.bar == bar and not place.register.side_effects]
        if not of_bar:
            continue
        items = [[place.offset, place.register.width_bits] for place in of_bar]
        answer = shell.call("registers.values", bar=bar, items=items)
        found = {offset: value for _, offset, value in answer["values"]}
        values |= {place: found[place.offset] for place in of_bar if place.offset in found}
    return values


def moment(shell: Shell) -> Moment:
    """All registers now, but for those whose read has side effects."""
    answer = shell.call("registers.values", all=True)
    values = {(bar, offset): value for bar, offset, value in answer["values"]}
    return Moment(answer["now_ns"], values)


def as_json(place: Place, value: int | None) -> dict[str, Any]:
    """A register for programs. A value of None was not read, as that has side effects."""
    described: dict[str, Any] = {
        "name": place.name,
        "bar": place.bar,
        "offset": place.offset,
        "width_bits": place.register.width_bits,
        "group": decode.slug(place.register.section),
        "value": value,
        "read_has_side_effects": place.register.side_effects,
        "description": place.description,
        "reference": place.reference,
    }
    if value is not None:
        described["fields"] = decode.fields_json(place, value)
    return described


def hexadecimal(place: Place, value: int | None) -> str:
    """A register's value in all its digits."""
    return "not read" if value is None else f"0x{value:0{place.register.width_bits // 4}x}"


def summary(place: Place, value: int | None) -> str:
    """A register's fields on one line."""
    if value is None:
        return "a read has side effects: use `read`"
    fields = place.register.fields
    parts = []
    for field in fields:
        part = field.extract(value)
        shown = decode.field_meaning(place, field, part) or decode.field_number(place, part)
        parts.append(shown if len(fields) == 1 else f"{field.name}={shown}")
    return "  ".join(parts)


def in_detail(place: Place, value: int | None, only: Field | None = None) -> RenderableType:
    """A register with every field, described."""
    title = f"{place.name}  {place.address}  {hexadecimal(place, value)}"
    lines: list[RenderableType] = [note(f"{place.description}  [{place.reference}]")]
    if place.register.side_effects:
        lines.append(cell("A read changes the card's state."))
    if value is not None:
        rows = []
        for field in place.register.fields:
            if only is not None and field != only:
                continue
            part = field.extract(value)
            rows.append(
                (
                    field.name,
                    decode.bits(field),
                    field.access.value,
                    decode.field_number(place, part),
                    decode.field_meaning(place, field, part),
                    descriptions.FIELDS.get(f"{place.register.name}.{field.name}", ""),
                )
            )
        lines.append(table(["=  field", "=bits", "=kind", "=value", "meaning", "what"], rows))
    return titled(title, *lines)


def run_registers(shell: Shell, arguments: Arguments) -> Result:
    """Show registers."""
    expressions = arguments.words("registers")
    if not expressions:
        return _groups()
    places: list[Place] = []
    only: Field | None = None
    for expression in expressions:
        found, field = decode.resolve(expression)
        if field is not None:
            only = field if len(expressions) == 1 else None
        places += [place for place in found if place not in places]
    values = values_of(shell, places)
    left_out = 0
    if not arguments.flag("all"):
        shown = [place for place in places if not _idle(place, values.get(place), expressions)]
        left_out, places = len(places) - len(shown), shown
    named = len({place.register.name for place in places})
    if arguments.flag("fields") or (named <= _DETAILED and len(places) <= _DETAILED):
        lines = [in_detail(place, values.get(place), only) for place in places]
    else:
        rows = [
            (place.name, place.address, hexadecimal(place, value), summary(place, value))
            for place, value in ((place, values.get(place)) for place in places)
        ]
        lines = [table(["=register", "=address", "=value", "fields"], rows)]
    if left_out:
        lines.append(note(f"{left_out} more with their value after reset: --all"))
    return Result([as_json(place, values.get(place)) for place in places], lines)


def _idle(place: Place, value: int | None, expressions: Sequence[str]) -> bool:
    """Whether it is one element of many that nobody asked for by name, and says nothing."""
    if place.register.array_count == 1 or value is None:
        return False
    return value == place.register.reset and place.name.upper() not in map(str.upper, expressions)


def _groups() -> Result:
    rows = []
    described = []
    for group, section in decode.groups().items():
        names = list(
            dict.fromkeys(
                place.register.name
                for place in decode.every_place()
                if place.register.section == section
            )
        )
        shown = ", ".join(names[:4]) + (", …" if len(names) > 4 else "")
        rows.append((group, len(names), shown))
        described.append({"group": group, "section": section, "registers": names})
    lines = [
        table(["=group", ">registers", "such as"], rows),
        note("registers GROUP | NAME | 'PATTERN*' | BAR:OFFSET | all"),
    ]
    return Result(described, lines)


def run_read(shell: Shell, arguments: Arguments) -> Result:
    """Read registers as a driver does."""
    described, lines = [], []
    for expression in arguments.words("registers"):
        place, only = decode.one_place(expression)
        answer = shell.call(
            "registers.read",
            bar=place.bar,
            offset=place.offset,
            width=place.register.width_bits,
        )
        described.append(as_json(place, answer["value"]))
        lines.append(in_detail(place, answer["value"], only))
    return Result(described, lines)


def _assignments(words: Sequence[str]) -> tuple[Place, list[tuple[Field | None, str]]]:
    """The register of `REG VALUE`, `REG=VALUE`, `REG.FIELD=VALUE …` or `REG FIELD=VALUE …`."""
    first, equals, value = words[0].partition("=")
    place, field = decode.one_place(first)
    given: list[tuple[Field | None, str]] = []
    rest = list(words[1:])
    if equals:
        given.append((field, value))
    elif field is not None:
        if not rest:
            raise UsageError(f"{words[0]} is given no value", f"write {words[0]}=1")
        given.append((field, rest.pop(0)))
    elif rest and "=" not in rest[0]:
        given.append((None, rest.pop(0)))
    for word in rest:
        name, equals, value = word.partition("=")
        if not equals:
            raise UsageError(f"{word!r} is no FIELD=VALUE")
        if "." in name:
            other, field = decode.one_place(name)
            if other != place:
                raise UsageError(
                    f"{name} is not in {place.name}", "write to one register at a time"
                )
        else:
            _, field = decode.one_place(f"{place.name}.{name}")
        given.append((field, value))
    if not given:
        raise UsageError(f"{words[0]} is given no value", f"write {words[0]} 1")
    return place, given


def _new_value(place: Place, given: Sequence[tuple[Field | None, str]], old: int) -> int:
    """What to write: fields that are not named keep their value, or do nothing."""
    value = old & place.register.mask_of(Access.RW)
    for field, text in given:
        if field is None:
            alone = place.register.fields[0] if len(place.register.fields) == 1 else None
            value = decode.value_of(alone.enum if alone else None, text)
            if value >> place.register.width_bits:
                raise UsageError(f"{text} has more than {place.register.width_bits} bits")
            continue
        if field.access in (Access.RO, Access.RC):
            raise UsageError(f"{place.name}.{field.name} is read only")
        try:
            value = field.insert(value, decode.value_of(field.enum, text))
        except ValueError as error:
            raise UsageError(str(error)) from None
    return value


def run_write(shell: Shell, arguments: Arguments) -> Result:
    """Write a register as a driver does."""
    place, given = _assignments(arguments.words("assignments"))
    old = values_of(shell, [place]).get(place, 0)
    value = _new_value(place, given, old)
    if place.acts:
        question = f"write {value:#x} to {place.name}: {place.acts}. Really?"
        shell.ask(question, yes=arguments.flag("yes"))
    shell.call(
        "registers.write",
        bar=place.bar,
        offset=place.offset,
        width=place.register.width_bits,
        value=value,
    )
    now = values_of(shell, [place]).get(place)
    described = {
        "name": place.name,
        "written": value,
        "before": old,
        "after": now,
        "fields": {} if now is None else decode.fields_json(place, now),
    }
    lines = [
        pairs(
            [
                ("register", f"{place.name}  {place.address}"),
                ("before", f"{hexadecimal(place, old)}  {summary(place, old)}"),
                ("written", hexadecimal(place, value)),
                ("now", f"{hexadecimal(place, now)}  {summary(place, now)}"),
            ]
        )
    ]
    return Result(described, lines)


def run_snapshot(shell: Shell, arguments: Arguments) -> Result:
    """Keep all registers under a name, or list what is kept."""
    if not arguments.given("name") and shell.memory.snapshots and arguments.flag("list"):
        kept = [
            {"name": name, "now_ns": at.now_ns, "registers": len(at.values)}
            for name, at in shell.memory.snapshots.items()
        ]
        rows = [(item["name"], item["now_ns"], item["registers"]) for item in kept]
        return Result(kept, [table(["=name", ">card's time, ns", ">registers"], rows)])
    if arguments.flag("list"):
        return Result([], [note("no snapshots: `snapshot NAME` takes one")])
    name = arguments.text("name", LAST)
    taken = moment(shell)
    shell.memory.snapshots[name] = taken
    described = {"name": name, "now_ns": taken.now_ns, "registers": len(taken.values)}
    return Result(described, [note(f"{len(taken.values)} registers kept as {name}")])


def run_diff(shell: Shell, arguments: Arguments) -> Result:
    """What changed between two moments."""
    before = _snapshot(shell, arguments.text("before", LAST))
    after = _snapshot(shell, arguments.text("after")) if arguments.given("after") else moment(shell)
    changes, rows = [], []
    for place in decode.every_place():
        key = (place.bar, place.offset)
        old, new = before.values.get(key), after.values.get(key)
        if old is None or new is None or old == new:
            continue
        changed: list[dict[str, Any]] = [
            {
                "field": field.name,
                "before": field.extract(old),
                "after": field.extract(new),
                "before_meaning": decode.field_meaning(place, field, field.extract(old)),
                "after_meaning": decode.field_meaning(place, field, field.extract(new)),
            }
            for field in place.register.fields
            if field.extract(old) != field.extract(new)
        ]
        changes.append({"name": place.name, "before": old, "after": new, "fields": changed})
        for change in changed:
            a, b = change["before"], change["after"]
            names = (
                change["before_meaning"] or decode.field_number(place, a),
                change["after_meaning"] or decode.field_number(place, b),
            )
            label = (
                place.name if len(place.register.fields) == 1 else f"{place.name}.{change['field']}"
            )
            rows.append(
                (label, names[0], names[1], "" if change["after_meaning"] else f"{b - a:+d}")
            )
    took_s = (after.now_ns - before.now_ns) / 1e9
    described = {"seconds": took_s, "changes": changes}
    title = f"{len(changes)} registers changed in {took_s:.3f} s"
    body = table(["=register", "before", "after", ">change"], rows)
    return Result(described, [titled(title, body) if rows else note(title)])


def _snapshot(shell: Shell, name: str) -> Moment:
    kept = shell.memory.snapshots.get(name)
    if kept is None:
        known = ", ".join(shell.memory.snapshots) or "none"
        raise ShellError(
            "NO_SNAPSHOT",
            f"there is no snapshot {name}",
            f"`snapshot {name}` takes one; known: {known}",
        )
    return kept


COMMANDS: Final = (
    Command(
        "registers",
        "Show registers with their fields, without touching them",
        run_registers,
        (
            Example("registers", "the groups that there are"),
            Example("registers device-control", "one group"),
            Example("registers CONTROL STATUS", "two registers, every field described"),
            Example("registers 'TX_QUEUE_*[0]'", "all of transmit queue 0"),
            Example("registers 0:0x44", "the register at offset 0x44 of BAR 0"),
        ),
        (
            Argument(
                "registers",
                Kind.REGISTER,
                "name, NAME[3], NAME.FIELD, pattern, group, BAR:OFFSET or all",
                required=False,
                many=True,
            ),
        ),
        (
            Option("--fields", help="every field described, however many registers there are"),
            Option("--all", help="elements of arrays that have their value after reset, too"),
        ),
    ),
    Command(
        "read",
        "Read registers as a driver does, side effects and diagnostics included",
        run_read,
        (
            Example("read STATUS", "one register"),
            Example("read STATUS.LINK_UP 0:0xa4", "a field, and a register by its address"),
        ),
        (Argument("registers", Kind.REGISTER, "name, NAME.FIELD or BAR:OFFSET", many=True),),
    ),
    Command(
        "write",
        "Write a register as a driver does; asks first when that does more than keep a value",
        run_write,
        (
            Example("write CONTROL.TX_ENABLE=1 --yes", "one field, the others keep their value"),
            Example("write RX_COALESCE TIMEOUT_US=50 MAX_SEGMENTS=16", "two fields at once"),
            Example("write OFFLOAD_ENABLE 'RX_CHECKSUM|RSS'", "by the names of flags"),
            Example("write MAX_FRAME 1514", "the whole register"),
        ),
        (
            Argument(
                "assignments",
                Kind.ASSIGNMENT,
                "REGISTER VALUE, REGISTER.FIELD=VALUE or REGISTER FIELD=VALUE …",
                many=True,
            ),
        ),
        (YES,),
    ),
    Command(
        "snapshot",
        "Keep all registers under a name, for diff",
        run_snapshot,
        (
            Example("snapshot before", "keep them as `before`"),
            Example("snapshot --list", "what is kept"),
        ),
        (Argument("name", Kind.SNAPSHOT, "name; `last` without one", required=False),),
        (Option("--list", help="list snapshots instead"),),
    ),
    Command(
        "diff",
        "What changed in the registers between two moments",
        run_diff,
        (
            Example("diff", "since the last snapshot without a name"),
            Example("diff before", "since the snapshot `before`"),
            Example("diff before after", "between two snapshots"),
        ),
        (
            Argument("before", Kind.SNAPSHOT, "snapshot; `last` without one", required=False),
            Argument("after", Kind.SNAPSHOT, "snapshot; now without one", required=False),
        ),
    ),
)
