"""JSON, XML, TOML and YAML made wrong: a value that is another, or text that is hardly one."""

import json
import re
from pathlib import Path

from benchmarks._mutations.base import Rng, change_tree


def json_value(path: Path, rng: Rng) -> str:
    tree = json.loads(path.read_text())
    said = "; ".join(change_tree(tree, rng) for _ in range(rng.choice((1, 1, 1, 3))))
    path.write_text(json.dumps(tree))
    return said


def json_line(path: Path, rng: Rng) -> str:
    """One line of a file that has a JSON value on each."""
    lines = path.read_text().splitlines()
    k = rng.randrange(len(lines))
    tree = {"line": json.loads(lines[k])}
    said = change_tree(tree, rng)
    path.write_text("\n".join([*lines[:k], json.dumps(tree.get("line")), *lines[k + 1 :]]))
    return f"line {k} {said}"


def json_text(path: Path, rng: Rng) -> str:
    text = path.read_text()
    number = re.compile(r"-?\d+(\.\d+)?")
    spots = [match.span() for match in number.finditer(text)] or [(0, 0)]
    a, b = rng.choice(spots)
    changes: dict[str, bytes] = {
        "BOM": b"\xef\xbb\xbf" + text.encode(),
        "UTF-16": text.encode("utf-16"),
        "UTF-32": text.encode("utf-32"),
        "CRLF": text.replace(",", ",\r\n").encode(),
        "latin-1": text.replace('"', '"\xe4', 1).encode("latin-1"),
        "comma at the end": text.replace("}", ",}", 1).encode(),
        "comment": b"// comment\n" + text.encode(),
        "twice": 2 * text.encode(),
        "zero byte": text.encode() + b"\0",
        "nested": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        "key twice": text.replace("{", '{"images": 1, "images": [], "people": 3, ', 1).encode(),
    } | {
        f"number {new[:12]}": (text[:a] + new + text[b:]).encode()
        for new in ("NaN", "Infinity", "-Infinity", "1e999999", "9" * 5000, "0x10", "1,5", "-", '"5"', "1e-999", "007")
    }
    name = rng.choice(list(changes))
    path.write_bytes(changes[name])
    return name


def xml_text(path: Path, rng: Rng) -> str:
    text = path.read_text()
    tags = [match.span() for match in re.finditer(r"<[^>]+>", text)] or [(0, 0)]
    words = [match.span() for match in re.finditer(r"(?<=>)[^<]+(?=<)", text)] or [(0, 0)]
    (a, b), (c, d) = rng.choice(tags), rng.choice(words)
    bomb = '<!DOCTYPE m [<!ENTITY a "aaaaaaaaaa">' + "".join(
        f'<!ENTITY {y} "{f"&{x};" * 10}">' for x, y in zip("abcdefgh", "bcdefghi", strict=True)
    )
    outside = '<!DOCTYPE m [<!ENTITY o SYSTEM "file:///etc/passwd">]>'
    changes = {
        "without a tag": text[:a] + text[b:],
        "a tag twice": text[:b] + text[a:b] + text[b:],
        "bomb": f"{bomb}]>{text[:c]}&i;{text[d:]}",
        "outside": f"{outside}{text[:c]}&o;{text[d:]}",
        "unknown encoding": f'<?xml version="1.0" encoding="klingon"?>{text}',
        "wide encoding": f'<?xml version="1.0" encoding="shift_jis"?>{text}',
        "nested": "<a>" * 50_000 + text + "</a>" * 50_000,
    } | {
        f"text {new[:12]}": text[:c] + new + text[d:]
        for new in (
            "",
            "NaN",
            "inf",
            "-1",
            "9" * 5000,
            "x",
            "S9",
            "\N{ARABIC-INDIC DIGIT TWO}",
            "\N{SUPERSCRIPT TWO}",
            "1e400",
            "../x",
        )
    }
    name = rng.choice(list(changes))
    path.write_text(changes[name])
    return name


def toml_text(path: Path, rng: Rng) -> str:
    lines = path.read_text().splitlines()
    new = rng.choice(
        (
            "inf",
            "nan",
            "-1",
            "0",
            "9" * 5000,
            "true",
            '"x"',
            "[]",
            "{}",
            "[1, 2]",
            "1e308",
            "1979-05-27",
            "'''a\n'''",
            "{kind = 3}",
        )
    )
    keys = (
        "crop_px",
        "steps",
        "kind",
        "channels",
        "seed",
        "workers",
        "minutes",
        "losses",
        "anchors",
        "encoder",
        "head",
    )
    changes = {
        "line": lambda k: [*lines[:k], lines[k].split("=")[0] + f"= {new}", *lines[k + 1 :]],
        "key": lambda k: [*lines[:k], f"{rng.choice(keys)} = {new}", *lines[k:]],
        "gone": lambda k: [*lines[:k], *lines[k + 1 :]],
        "twice": lambda k: [*lines[:k], lines[k], *lines[k:]],
        "nested": lambda k: [*lines, "a = " + "[" * 5000 + "]" * 5000],
        "table": lambda k: [
            *lines[:k],
            f"[{rng.choice(('network', 'network.head', 'x', 'train.train', 'augment'))}]",
            *lines[k:],
        ],
    }
    name = rng.choice(list(changes))
    path.write_text("\n".join(changes[name](rng.randrange(len(lines)))))
    return f"{name} {new[:12]}"


def yaml_text(path: Path, rng: Rng) -> str:
    """OpenCV's YAML: a number, a line, a name or a size that is another."""
    lines = path.read_text().splitlines()
    k = rng.randrange(len(lines))
    new = rng.choice(
        (
            "nan",
            ".inf",
            "-1",
            "0",
            "9" * 5000,
            "1e400",
            "x",
            "[",
            "]",
            "&a [*a]",
            "!!python/object/apply:os.system [id]",
            "",
        )
    )
    numbers = [match.span() for match in re.finditer(r"-?\d[\d.eE+-]*", lines[k])] or [(0, 0)]
    a, b = rng.choice(numbers)
    changes = {
        "number": [*lines[:k], lines[k][:a] + new + lines[k][b:], *lines[k + 1 :]],
        "line": [*lines[:k], lines[k].split(":")[0] + f": {new}", *lines[k + 1 :]],
        "gone": [*lines[:k], *lines[k + 1 :]],
        "twice": [*lines[:k], lines[k], *lines[k:]],
        "nested": [*lines, "a: " + "[" * 50_000 + "]" * 50_000],
    }
    name = rng.choice(list(changes))
    path.write_text("\n".join(changes[name]))
    return f"{name} of line {k} {new[:12]}"
