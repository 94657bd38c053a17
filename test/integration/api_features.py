"""Every feature of the datastore that a Python application may use, with the unmodified google-cloud-datastore.

Run against the datastore at DATASTORE_EMULATOR_HOST, project DATASTORE_PROJECT_ID; keys are under NXNW_RUN, so that it
can run again, during a migration too. Exit code 0 = everything as expected.
"""

import datetime
import os
import unittest

from google.api_core import exceptions
from google.cloud import datastore
from google.cloud.datastore.helpers import GeoPoint
from google.cloud.datastore.query import And, Or, PropertyFilter

RUN = os.environ.get("NXNW_RUN", "run")
CLIENT = datastore.Client(project=os.environ["DATASTORE_PROJECT_ID"], namespace=f"py-{RUN}")
CITIES = [
    {"name": f"city{i:02}", "country": ["DE", "FR", "IT"][i % 3], "population": i * 37 % 50, "tags": ["all", f"t{i % 5}"]}
    for i in range(60)
]


def put(key, exclude=(), **properties):
    entity = datastore.Entity(key=key, exclude_from_indexes=exclude)
    entity.update(properties)
    CLIENT.put(entity)
    return entity


def names(query, **fetch):
    return [e["name"] for e in query.fetch(**fetch)]


def expected(keep, *by):
    kept = [c for c in CITIES if keep(c)]
    for order in reversed(by):
        kept.sort(key=lambda c: c[order.lstrip("-")], reverse=order.startswith("-"))
    return [c["name"] for c in kept]


class Entities(unittest.TestCase):
    def test_every_type_of_value_comes_back_as_it_was_put(self):
        key = CLIENT.key("Root", 7, "All", "x")
        inner = datastore.Entity()
        inner["b"] = [1, 2]
        values = {
            "integer": 9007199254740993,
            "double": 2.5,
            "text": "ä\0ö",
            "blob": b"\0\x01\xff",
            "when": datetime.datetime(2024, 1, 2, 3, 4, 5, 678901, tzinfo=datetime.timezone.utc),
            "nothing": None,
            "yes": True,
            "place": GeoPoint(52.5, 13.4),
            "link": CLIENT.key("City", "city00"),
            "list": ["a", 1, None],
            "empty": [],
        }
        put(key, exclude=("text",), inner=inner, **values)
        got = CLIENT.get(key)
        self.assertEqual({k: got[k] for k in values}, values)
        self.assertEqual(got["inner"]["b"], [1, 2])
        self.assertEqual(got.key, key)

    def test_missing_deleted_and_deferred_keys(self):
        keys = [CLIENT.key("Big", i) for i in range(1, 9)]
        CLIENT.delete_multi(keys)
        missing = []
        self.assertEqual(CLIENT.get_multi(keys, missing=missing), [])
        self.assertEqual(len(missing), 8)
        for key in keys:
            put(key, exclude=("text",), text="x" * 900_000)
        self.assertEqual(len(CLIENT.get_multi(keys)), 8)
        CLIENT.delete_multi(keys)
        self.assertIsNone(CLIENT.get(keys[0]))

    def test_ids_are_allocated_reserved_and_never_given_twice(self):
        entity = put(CLIENT.key("Auto"), v=1)
        self.assertIsNotNone(entity.key.id)
        ids = {k.id for k in CLIENT.allocate_ids(CLIENT.key("Auto"), 50)}
        self.assertEqual(len(ids), 50)
        self.assertNotIn(entity.key.id, ids)
        CLIENT.reserve_ids_multi([CLIENT.key("Auto", 12345)])


class Queries(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        entities = []
        for c in CITIES:
            e = datastore.Entity(key=CLIENT.key("City", c["name"]))
            e.update(c)
            entities.append(e)
        CLIENT.put_multi(entities)

    def query(self, *filters, order=(), **options):
        q = CLIENT.query(kind="City", order=order, **options)
        for f in filters:
            q.add_filter(filter=f)
        return q

    def test_kind_and_key_order(self):
        self.assertEqual(names(self.query()), expected(lambda c: True))
        self.assertEqual(names(self.query(order=["-__key__"])), expected(lambda c: True)[::-1])

    def test_equality_and_merge_join(self):
        found = names(self.query(PropertyFilter("country", "=", "DE"), PropertyFilter("tags", "=", "t1")))
        self.assertEqual(found, expected(lambda c: c["country"] == "DE" and "t1" in c["tags"]))
        self.assertEqual(
            names(self.query(PropertyFilter("tags", "=", "t1"), PropertyFilter("tags", "=", "all"))),
            expected(lambda c: "t1" in c["tags"]),
        )

    def test_inequality_and_orders(self):
        f = PropertyFilter("population", ">=", 25)
        self.assertEqual(names(self.query(f)), expected(lambda c: c["population"] >= 25, "population"))
        self.assertEqual(
            names(self.query(f, PropertyFilter("population", "<", 40), order=["population", "name"])),
            expected(lambda c: 25 <= c["population"] < 40, "population", "name"),
        )
        self.assertEqual(
            names(self.query(PropertyFilter("country", "=", "FR"), order=["-population", "name"])),
            expected(lambda c: c["country"] == "FR", "-population", "name"),
        )
        self.assertEqual(
            names(self.query(order=["country", "-name"])), expected(lambda c: True, "country", "-name")
        )

    def test_in_not_in_not_equal_and_or(self):
        self.assertEqual(
            names(self.query(PropertyFilter("country", "IN", ["DE", "IT"]))),
            expected(lambda c: c["country"] in ("DE", "IT")),
        )
        self.assertEqual(
            names(self.query(PropertyFilter("country", "NOT_IN", ["DE", "IT"]), order=["country", "name"])),
            expected(lambda c: c["country"] == "FR"),
        )
        self.assertEqual(
            names(self.query(PropertyFilter("country", "!=", "FR"), order=["country", "name"])),
            expected(lambda c: c["country"] != "FR", "country", "name"),
        )
        either = Or([
            And([PropertyFilter("country", "=", "IT"), PropertyFilter("population", ">", 40)]),
            PropertyFilter("population", "=", 0),
        ])
        self.assertEqual(
            names(self.query(either)),
            expected(lambda c: (c["country"] == "IT" and c["population"] > 40) or c["population"] == 0),
        )

    def test_ancestor_key_filters_and_kindless(self):
        root = CLIENT.key("Country", "XX")
        put(root, name="root")
        put(CLIENT.key("Country", "XX", "Town", 1), name="t1")
        put(CLIENT.key("Country", "XX", "Town", 1, "Street", "a"), name="s")
        put(CLIENT.key("Country", "XXX", "Town", 1), name="not")
        self.assertEqual(names(CLIENT.query(kind="Town", ancestor=root)), ["t1"])
        self.assertEqual(names(CLIENT.query(ancestor=root)), ["root", "t1", "s"])
        after = self.query()
        after.key_filter(CLIENT.key("City", "city50"), ">")
        self.assertEqual(names(after), [f"city{i}" for i in range(51, 60)])

    def test_limit_offset_cursors_and_keys_only(self):
        everything = expected(lambda c: True)
        self.assertEqual(names(self.query(), limit=7, offset=5), everything[5:12])
        seen, cursor = [], None
        for _ in range(20):
            it = self.query(order=["name"]).fetch(limit=13, start_cursor=cursor)
            seen += [e["name"] for e in next(it.pages)]
            cursor = it.next_page_token
            if cursor is None or len(seen) >= 60:
                break
        self.assertEqual(seen, everything)
        it = self.query().fetch(limit=5)
        list(it)
        # The client forgets its end cursor after the first batch: keep the range within one.
        self.assertEqual(names(self.query(), end_cursor=it.next_page_token), everything[:5])
        q = self.query()
        q.keys_only()
        self.assertEqual([e.key.name for e in q.fetch(limit=3)], everything[:3])

    def test_count_and_what_is_not_there(self):
        counted = CLIENT.aggregation_query(self.query(PropertyFilter("country", "=", "DE"))).count(alias="n").fetch()
        self.assertEqual([r.value for page in counted for r in page], [20])
        q = self.query()
        q.projection = ["name"]
        with self.assertRaises(exceptions.MethodNotImplemented):
            list(q.fetch())

    def test_namespaces_are_apart(self):
        other = datastore.Client(project=CLIENT.project, namespace=f"py-{RUN}-other")
        self.assertEqual(list(other.query(kind="City").fetch()), [])


class Transactions(unittest.TestCase):
    def test_reads_and_writes_commit_together(self):
        a, b = CLIENT.key("Counter", "a"), CLIENT.key("Counter", "b")
        put(a, n=1)
        with CLIENT.transaction():
            entity = CLIENT.get(a)
            entity["n"] += 1
            CLIENT.put(entity)
            other = datastore.Entity(key=b)
            other["n"] = 10
            CLIENT.put(other)
        self.assertEqual([CLIENT.get(k)["n"] for k in (a, b)], [2, 10])

    def test_a_conflicting_commit_is_aborted_and_leaves_nothing(self):
        key = CLIENT.key("Counter", "c")
        put(key, n=1)
        with self.assertRaises(exceptions.Aborted):
            with CLIENT.transaction() as tx:
                entity = CLIENT.get(key)
                outside = datastore.Client(project=CLIENT.project, namespace=CLIENT.namespace)
                changed = datastore.Entity(key=key)
                changed["n"] = 5
                outside.put(changed)
                entity["n"] += 1
                tx.put(entity)
        self.assertEqual(CLIENT.get(key)["n"], 5)

    def test_an_exception_rolls_back(self):
        key = CLIENT.key("Counter", "d")
        with self.assertRaises(ValueError):
            with CLIENT.transaction():
                entity = datastore.Entity(key=key)
                CLIENT.put(entity)
                raise ValueError("stop")
        self.assertIsNone(CLIENT.get(key))

    def test_read_only_transactions_and_queries_in_transactions(self):
        root = CLIENT.key("Group", "g")
        put(CLIENT.key("Group", "g", "Item", 1), name="one")
        with CLIENT.transaction(read_only=True):
            self.assertEqual(names(CLIENT.query(kind="Item", ancestor=root)), ["one"])
        with CLIENT.transaction():
            found = names(CLIENT.query(kind="Item", ancestor=root))
            entity = datastore.Entity(key=CLIENT.key("Group", "g", "Total", "t"))
            entity["count"] = len(found)
            CLIENT.put(entity)
        self.assertEqual(CLIENT.get(CLIENT.key("Group", "g", "Total", "t"))["count"], 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
