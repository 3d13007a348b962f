"""Reads profiles with DuckDB, Sail (Spark's SQL) or chDB.

engines.py ENGINE tables ROOT LEVELS    the Iceberg tables of levels (a,b): for each, a row for each service
                                        and stack
engines.py duckdb pruned ROOT SERVICE   samples of a service by the hour, and how many files were opened
engines.py ENGINE files ROOT TABLES.md  the Parquet files: sums of samples and of functions; DuckDB also
                                        runs the queries of the documentation

ROOT is a directory or s3://BUCKET/PREFIX; the server and its keys are in AWS_* of the environment. Writes
JSON. Extensions of DuckDB are files of Python packages: nothing is downloaded.
"""

import importlib
import json
import os
import re
import sys
from pathlib import Path

TEXTS = """
    SELECT service, stack, CAST(sum(samples) AS BIGINT), CAST(sum(cpu_nanos) AS BIGINT)
    FROM {samples} AS s
    JOIN (SELECT file_id, stack_id, {text} AS stack FROM {stacks} GROUP BY file_id, stack_id) AS t
        ON s.file_id = t.file_id AND s.stack_id = t.stack_id
    GROUP BY service, stack ORDER BY service, stack
"""
FUNCTIONS = """
    SELECT (SELECT sum(samples) FROM {samples}),
        (SELECT sum(self_samples) FROM {functions} WHERE file_id IN (SELECT file_id FROM {samples}))
"""


def server():
    """Host and port of the S3 server."""
    return os.environ["AWS_ENDPOINT_URL"].removeprefix("http://")


def duckdb(*extensions):
    module = importlib.import_module("duckdb")
    database = module.connect(config={"allow_unsigned_extensions": "true"})
    for extension in extensions:
        package = importlib.import_module(f"duckdb_extension_{extension}")
        (path,) = Path(package.__file__).parent.rglob(f"{extension}.duckdb_extension")
        database.execute(f"LOAD '{path}'")
    if "AWS_ENDPOINT_URL" in os.environ:
        key, secret = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
        database.execute(f"""
            CREATE SECRET (TYPE s3, KEY_ID '{key}', SECRET '{secret}', REGION '{os.environ["AWS_REGION"]}',
                ENDPOINT '{server()}', URL_STYLE 'path', USE_SSL false)
        """)
    return database


def duckdb_tables(root, levels):
    database = duckdb("httpfs", "avro", "iceberg")
    text = "string_agg(coalesce(function, '?'), ';' ORDER BY depth)"

    def read(level):
        tables = {kind: f"iceberg_scan('{root}/iceberg/{level}_{kind}')" for kind in ("samples", "stacks")}
        return database.execute(TEXTS.format(text=text, **tables)).fetchall()

    return [read(level) for level in levels.split(",")]


def duckdb_files(root, documentation):
    database = duckdb("httpfs")
    views = {
        "samples": f"{root}/hourly/*/*/*.samples.parquet",
        "stacks": f"{root}/hourly/*/*/*.stacks.parquet",
        "functions": f"{root}/functions/*/*.functions.parquet",
    }
    for view, files in views.items():
        database.execute(f"CREATE VIEW {view} AS SELECT * FROM read_parquet('{files}')")
    for block in Path(documentation).read_text(encoding="utf-8").split("```sql")[1:]:
        sql = block.split("```")[0].strip()
        if sql.startswith("CREATE MACRO"):
            database.execute(sql)
        else:
            # Counted there: some types take more modules to become Python's.
            (rows,) = database.execute(f"SELECT count(*) FROM ({sql.rstrip(';')})").fetchone()
            assert rows > 0, sql
    return [int(sum) for sum in database.execute(FUNCTIONS.format(**{it: it for it in views})).fetchone()]


def duckdb_pruned(root, service):
    """Samples of a service, and how many files were opened for them."""
    database = duckdb("avro", "iceberg")
    sql = f"SELECT sum(samples) FROM iceberg_scan('{root}/iceberg/hourly_samples') WHERE service = '{service}'"
    (samples,) = database.execute(sql).fetchone()
    (plan,) = database.execute(f"EXPLAIN ANALYZE {sql}").fetchall()
    return [int(samples), int(re.search(r"Total Files Read: (\d+)", plan[1]).group(1))]


def chdb(sql):
    settings = " SETTINGS output_format_json_quote_64bit_integers = 0"
    text = str(importlib.import_module("chdb").query(sql + settings, "JSONCompactEachRow"))
    return [json.loads(line) for line in text.splitlines()]


def chdb_s3(function, root, path, *more):
    """A table function of an object store."""
    url = f"{os.environ['AWS_ENDPOINT_URL']}/{root.removeprefix('s3://')}/{path}"
    keys = [os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]]
    return f"{function}({', '.join(repr(it) for it in [url, *keys, *more])})"


def chdb_tables(root, levels):
    text = "arrayStringConcat(arrayMap(it -> it.2, arraySort(groupArray((depth, ifNull(function, '?'))))), ';')"
    is_s3 = root.startswith("s3://")
    if not is_s3:
        # It reads nothing outside.
        os.chdir(root)

    def table(path):
        return chdb_s3("icebergS3", root, path) if is_s3 else f"icebergLocal('{root}/{path}')"

    def read(level):
        tables = {kind: table(f"iceberg/{level}_{kind}") for kind in ("samples", "stacks")}
        return chdb(TEXTS.format(text=text, **tables))

    return [read(level) for level in levels.split(",")]


def chdb_files(root, _documentation):
    files = {
        "samples": chdb_s3("s3", root, "hourly/*/*/*.samples.parquet", "Parquet"),
        "functions": chdb_s3("s3", root, "functions/*/*.functions.parquet", "Parquet"),
    }
    return chdb(FUNCTIONS.format(**files))[0]


def sail_tables(root, levels):
    from pysail.spark import SparkConnectServer
    from pyspark.sql import SparkSession

    if "AWS_ENDPOINT_URL" in os.environ:
        os.environ["AWS_ENDPOINT"] = os.environ["AWS_ENDPOINT_URL"]
    server = SparkConnectServer()
    server.start(background=True)
    _, port = server.listening_address
    spark = SparkSession.builder.remote(f"sc://127.0.0.1:{port}").getOrCreate()
    text = "listagg(coalesce(function, '?'), ';') WITHIN GROUP (ORDER BY depth)"
    sql = TEXTS.format(text=text, samples="samples", stacks="stacks")

    def read(level):
        for kind in ("samples", "stacks"):
            table = spark.read.format("iceberg").load(f"{root}/iceberg/{level}_{kind}")
            table.createOrReplaceTempView(kind)
        return [list(row) for row in spark.sql(sql).collect()]

    answers = [read(level) for level in levels.split(",")]
    spark.stop()
    return answers


if __name__ == "__main__":
    engine, what, root, more = sys.argv[1:]
    print(json.dumps(globals()[f"{engine}_{what}"](root, more)))
