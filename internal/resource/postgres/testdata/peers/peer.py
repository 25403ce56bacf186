"""A client of the gateway with psycopg 2 or 3: it says what came of each step."""

import io
import os
import sys
import threading
import time

three = sys.argv[1] == "3"
if three:
    import psycopg as pg
else:
    import psycopg2 as pg


def env(name):
    return os.environ["PEER_" + name]


def say(key, value):
    print(key + "\t" + " ".join(str(value).split()), flush=True)


def error(e):
    code = e.sqlstate if three else getattr(e, "pgcode", None)
    diag = getattr(e, "diag", None)
    if code and diag is not None and diag.message_primary:
        hint = " HINT: " + diag.message_hint if diag.message_hint else ""
        return "%s %s: %s%s" % (diag.severity, code, diag.message_primary, hint)
    return "%s %s: %s" % (type(e).__name__, code, e)


def step(key):
    def run(f):
        try:
            say(key, f())
        except Exception as e:  # every one is told
            say(key, error(e))
    return run


def connect(host=None, ca=None):
    c = pg.connect(
        host=host or env("HOST"), port=env("PORT"), user=env("USER"), password=env("PASSWORD"), dbname=env("DATABASE"),
        sslmode="verify-full", sslrootcert=ca or env("CA"), channel_binding="require", connect_timeout=10)
    c.autocommit = True
    return c


def one(c, sql, *args):
    cur = c.cursor()
    cur.execute(sql, args or None)
    return cur.fetchone()[0]


@step("wrong ca")
def _():
    connect(ca=env("WRONG_CA"))


@step("wrong name")
def _():
    connect(host="localhost")


c = connect()


@step("simple")
def _():
    return one(c, "select count(*) from orders")


@step("prepared")
def _():
    if three:
        return sum(c.execute("select total from orders where id = %s", (i,), prepare=True).fetchone()[0] for i in range(1, 21))
    c.cursor().execute("prepare mine (int) as select total from orders where id = $1")
    return sum(one(c, "execute mine (%s)", i) for i in range(1, 21))


@step("batch")
def _():
    cur = c.cursor()
    cur.executemany("insert into blobs values (%s, %s)", [(-i, "psycopg " + sys.argv[1]) for i in range(1, 501)])
    return one(c, "select count(*) from blobs where body = %s", "psycopg " + sys.argv[1])


if three:
    @step("pipeline")
    def _():
        with c.pipeline():
            all = [c.execute("select %s::int", (i,)) for i in range(200)]
        return sum(cur.fetchone()[0] for cur in all)

    @step("pipeline refused")
    def _():
        with c.pipeline() as p:
            c.execute("select 1")
            c.execute("listen x")
            c.execute("select 2")
            p.sync()

    @step("after pipeline")
    def _():
        return one(c, "select 'here'")


@step("cursor")
def _():
    c.autocommit = False
    cur = c.cursor(name="mine")
    cur.itersize = 100
    cur.execute("select * from orders")
    n = sum(1 for _ in cur)
    cur.close()
    c.commit()
    c.autocommit = True
    return n


@step("copy in")
def _():
    cur = c.cursor()
    if three:
        with cur.copy("copy blobs from stdin") as copy:
            copy.write("1\ta\n2\tb\n3\tc\n")
    else:
        cur.copy_expert("copy blobs from stdin", io.StringIO("1\ta\n2\tb\n3\tc\n"))
    return cur.rowcount


@step("copy out")
def _():
    cur = c.cursor()
    if three:
        with cur.copy("copy orders to stdout") as copy:
            out = b"".join(bytes(b) for b in copy)
    else:
        to = io.BytesIO()
        cur.copy_expert("copy orders to stdout", to)
        out = to.getvalue()
    return "%d %d" % (cur.rowcount, out.count(b"\n"))


@step("large out")
def _():
    return len(one(c, "select repeat('x', 16 * 1024 * 1024)"))


@step("large in")
def _():
    # psycopg 2 writes values into the statement, which may have 16 MiB in all.
    return one(c, "select length(%s::text)", "x" * (16 * 1024 * 1024 if three else 15 * 1024 * 1024))


@step("cancel")
def _():
    threading.Timer(0.5, c.cancel).start()
    return one(c, "select pg_sleep(60)")


@step("after cancel")
def _():
    return one(c, "select 'here'")


@step("denied")
def _():
    return one(c, "select * from customers")


@step("listen")
def _():
    c.cursor().execute("listen x")
    return "listens"


c.autocommit = False


@step("begun")
def _():
    return one(c, "select 1")


@step("refused within")
def _():
    c.cursor().execute("listen x")
    return "listens"


@step("failed within")
def _():
    return one(c, "select 2")


c.rollback()
c.autocommit = True


@step("after rollback")
def _():
    return one(c, "select 3")


say("waiting", "")


@step("end")
def _():
    return one(c, "select pg_sleep(60)")


@step("usable")
def _():
    return not c.closed


@step("again")
def _():
    connect()
