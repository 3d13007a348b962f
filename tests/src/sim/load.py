"""Work for services that are recorded: `store URL` for a file server, `queries` for an analytical database."""

import json
import random
import sys
import urllib.request


def store(url):
    """Puts documents on a file server, reads them and lists them, for ever."""
    chance = random.Random(1)
    while True:
        name = f"{url}/docs/{chance.randrange(20)}/{chance.randrange(500)}.json"
        rows = [{"id": row, "name": f"row {row}", "value": chance.random()} for row in range(chance.randrange(200))]
        body = json.dumps(rows).encode()
        headers = {"Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(name, body, headers, method="PUT")) as answer:
            answer.read()
        for _ in range(3):
            with urllib.request.urlopen(name) as answer:
                json.loads(answer.read())
        with urllib.request.urlopen(name.rsplit("/", 1)[0] + "/?limit=20") as answer:
            answer.read()


def queries():
    """Asks questions about orders, for ever."""
    import duckdb

    database = duckdb.connect(config={"threads": 2})
    database.execute(
        """CREATE TABLE orders AS SELECT range AS id, range % 997 AS customer, hash(range) % 100000 / 100 AS price,
        'item ' || hash(range * 7) % 5000 AS item, TIMESTAMP '2026-01-01' + INTERVAL (range % 500000) SECOND AS placed
        FROM range(400000)"""
    )
    asked = [
        "SELECT customer, sum(price), count(DISTINCT item) FROM orders GROUP BY ALL ORDER BY 2 DESC LIMIT 10",
        "SELECT date_trunc('hour', placed) AS hour, quantile_cont(price, 0.95) FROM orders GROUP BY ALL ORDER BY hour",
        "SELECT count(*) FROM orders WHERE regexp_matches(item, '[13579]$') AND price > 500",
        "SELECT a.item, count(*) FROM orders a JOIN orders b ON a.id = b.id + 1 WHERE a.price > b.price GROUP BY ALL",
        "SELECT max(total) FROM (SELECT sum(price) OVER (PARTITION BY customer ORDER BY placed) AS total FROM orders)",
        "SELECT * FROM orders ORDER BY item, price LIMIT 100 OFFSET 300000",
        "SELECT upper(item), strftime(placed, '%Y-%m-%d'), avg(length(item)) FROM orders GROUP BY ALL LIMIT 100",
    ]
    while True:
        for question in asked:
            database.execute(question).fetchall()


if __name__ == "__main__":
    {"store": store, "queries": queries}[sys.argv[1]](*sys.argv[2:])
