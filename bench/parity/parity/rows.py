"""What was measured, kept in the repository: a file of `rows/` holds a line of JSON per model and exporter."""

import json

from .subject import ROOT

FOLDER = ROOT / "bench" / "parity" / "rows"
KEPT = (
    "source", "model", "shape", "exporter", "opset", "target", "seed", "rejected", "engine", "whycam", "note",
    "broken", "vanished", "ill", "no_export", "asked", "methods",
)  # fmt: skip
KEPT_OF_A_MAP = ("method", "module", "layer", "grid", "error", "error64", "torch64", "disturbed", "order", "cause", "vanishes", "ill", "pass")


def key(row):
    return row["source"], row["model"], row["exporter"]


class Rows:
    """The rows of one file, by source, model and exporter, in that order."""

    def __init__(self, name):
        self.path = FOLDER / f"{name}.jsonl"
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        self.rows = {key(row): row for row in map(json.loads, lines)}

    def __iter__(self):
        return iter(self.rows[k] for k in sorted(self.rows))

    def get(self, *of):
        return self.rows.get(of)

    def put(self, row):
        """Writes the file with this row in it, whole or not at all; other runs may have added rows meanwhile."""
        self.rows = Rows(self.path.stem).rows | {key(row): short(row)}
        FOLDER.mkdir(exist_ok=True)
        beside = self.path.with_suffix(".new")
        beside.write_text("".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in self))
        beside.replace(self.path)


def engines():
    """The rows of every engine that PARITY.md tells of, the most first."""
    found = {path.stem: list(Rows(path.stem)) for path in FOLDER.glob("*.jsonl") if path.stem != "targets"}
    return dict(sorted(found.items(), key=lambda of: -len(of[1])))


def short(row):
    """What tables and later runs need, with errors to two digits."""
    kept = {k: row[k] for k in KEPT if row.get(k) not in (None, [])}
    return kept | {"methods": [short_finding(f) for f in row.get("methods", [])]}


def short_finding(f):
    two_digits = lambda v: float(f"{v:.1e}") if isinstance(v, float) else v
    kept = {k: two_digits(f[k]) for k in KEPT_OF_A_MAP if f.get(k) not in (None, False)} | {"pass": bool(f.get("pass"))}
    if "module" in kept:
        kept.pop("layer", None)  # a name in the file, which the framework's own stands for
    return kept
