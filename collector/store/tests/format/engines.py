"""Reads a pair of files with DuckDB, chDB or PyArrow: engines.py duckdb|chdb|pyarrow FOLDER.

Writes one line for each service and stack, as JSON: what the test in engines.rs compares.
"""

import json
import sys

SQL = """
    SELECT service, stack_id, sum(samples), sum(cpu_nanos) FROM {samples}
    GROUP BY service, stack_id ORDER BY service, stack_id
"""
FRAMES = """
    SELECT stack_id, depth, function, file, line, inlined, module, kind, build_id, {offset}, reason
    FROM {stacks} ORDER BY stack_id, depth
"""
JOINED = """
    SELECT sum(s.samples), count(*) FROM {samples} AS s JOIN {stacks} AS t
    ON s.file_id = t.file_id AND s.stack_id = t.stack_id
"""

# By hour, and of all hours: {unnested} has the hours' own numbers.
FUNCTIONS = "SELECT (SELECT sum(self_samples) FROM {functions}), ({unnested})"


def with_duckdb(folder):
    import duckdb

    files = {
        "samples": f"'{folder}/1.samples.parquet'",
        "stacks": f"'{folder}/1.stacks.parquet'",
        "functions": f"'{folder}/1.functions.parquet'",
        "offset": '"offset"',
    }
    files["unnested"] = f"""
        SELECT sum(hour.self_samples) FROM (SELECT unnest(hours) AS hour FROM {files['functions']})
    """
    with open(sys.argv[3], encoding="utf-8") as text:
        blocks = text.read().split("```sql")[1:]
    database = duckdb.connect()
    database.execute(f"CREATE VIEW samples AS SELECT * FROM {files['samples']}")
    database.execute(f"CREATE VIEW stacks AS SELECT * FROM {files['stacks']}")
    database.execute(f"CREATE VIEW functions AS SELECT * FROM {files['functions']}")
    # What the documentation shows can be run, and finds something.
    for block in blocks:
        sql = block.split("```")[0].strip()
        if sql.startswith("CREATE MACRO"):
            database.execute(sql)
        else:
            # Counted there: some types take more modules to become Python's.
            (rows,) = database.execute(f"SELECT count(*) FROM ({sql.rstrip(';')})").fetchone()
            assert rows > 0, sql
    return [database.execute(sql.format(**files)).fetchall() for sql in (SQL, FRAMES, JOINED, FUNCTIONS)]


def with_chdb(folder):
    import chdb

    files = {
        "samples": f"file('{folder}/1.samples.parquet')",
        "stacks": f"file('{folder}/1.stacks.parquet')",
        "functions": f"file('{folder}/1.functions.parquet')",
        "offset": "`offset`",
    }
    files["unnested"] = f"""
        SELECT sum(hour.self_samples) FROM {files['functions']} ARRAY JOIN hours AS hour
    """

    def rows(sql):
        settings = " SETTINGS output_format_json_quote_64bit_integers = 0"
        text = str(chdb.query(sql.format(**files) + settings, "JSONCompactEachRow"))
        return [json.loads(line) for line in text.splitlines()]

    return [rows(sql) for sql in (SQL, FRAMES, JOINED, FUNCTIONS)]


def with_pyarrow(folder):
    import pyarrow.parquet

    samples = pyarrow.parquet.read_table(f"{folder}/1.samples.parquet")
    stacks = pyarrow.parquet.read_table(f"{folder}/1.stacks.parquet")
    functions = pyarrow.parquet.read_table(f"{folder}/1.functions.parquet")
    hours = [hour for hours in functions["hours"].to_pylist() for hour in hours]
    sums = samples.group_by(["service", "stack_id"]).aggregate([("samples", "sum"), ("cpu_nanos", "sum")])
    sums = sums.sort_by([("service", "ascending"), ("stack_id", "ascending")]).to_pylist()
    names = "stack_id depth function file line inlined module kind build_id offset reason".split()
    frames = stacks.select(names).sort_by([("stack_id", "ascending"), ("depth", "ascending")]).to_pylist()
    joined = samples.drop_columns(["labels"]).join(stacks, ["file_id", "stack_id"], join_type="inner")
    return [
        [[row["service"], row["stack_id"], row["samples_sum"], row["cpu_nanos_sum"]] for row in sums],
        [[row[name] for name in names] for row in frames],
        [[sum(joined["samples"].to_pylist()), joined.num_rows]],
        [[sum(functions["self_samples"].to_pylist()), sum(hour["self_samples"] for hour in hours)]],
    ]


ENGINES = {"duckdb": with_duckdb, "chdb": with_chdb, "pyarrow": with_pyarrow}

if __name__ == "__main__":
    sums, frames, joined, functions = ENGINES[sys.argv[1]](sys.argv[2])
    (samples, rows) = joined[0]
    sums = [[service, stack, int(samples), int(nanos)] for service, stack, samples, nanos in sums]
    frames = [[*row[:5], bool(row[5]), *row[6:]] for row in frames]
    joined = [int(samples), int(rows)]
    functions = [int(number) for number in functions[0]]
    print(json.dumps({"sums": sums, "frames": frames, "joined": joined, "functions": functions}))
