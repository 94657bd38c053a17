"""Copies a tree between ZooKeepers with kazoo, 64 requests in flight: prints nodes and seconds as JSON."""

import json
import sys
import threading
import time
from collections import deque

from kazoo.client import KazooClient

source, target, root = sys.argv[1:4]
IN_FLIGHT = 64


def connect(servers):
    zk = KazooClient(hosts=servers, auth_data=[("digest", "super:secret")])
    zk.start(timeout=10)
    return zk


a, b = connect(source), connect(target)
b.ensure_path(root)
begin = time.monotonic()
waiting = deque([root])
free = threading.Semaphore(IN_FLIGHT)
changed = threading.Condition()
open_nodes = 1
nodes = 0


def run(request, done):
    """One request in flight; `done` gets its result."""
    free.acquire()

    def answered(result):
        free.release()
        done(result)

    request().rawlink(answered)


ready = deque()


def post(step, result):
    with changed:
        ready.append((step, result))
        changed.notify()


def read(path):
    got = {}

    def part(name):
        def answered(result):
            got[name] = result.get()
            if len(got) == 3:
                post("read", (path, got["data"][0], got["acl"][0], got["children"]))

        return answered

    run(lambda: a.get_async(path), part("data"))
    run(lambda: a.get_acls_async(path), part("acl"))
    run(lambda: a.get_children_async(path), part("children"))


def write(path, data, acl, children):
    def answered(result):
        result.get()
        post("written", (path, children))

    if path == root:
        post("written", (path, children))
    else:
        run(lambda: b.create_async(path, data, acl=acl), answered)


while open_nodes > 0:
    while waiting and free._value >= 3:
        read(waiting.popleft())
    with changed:
        while not ready:
            changed.wait(10)
        steps = list(ready)
        ready.clear()
    for step, result in steps:
        if step == "read":
            write(*result)
        else:
            path, children = result
            nodes += 1
            open_nodes += len(children) - 1
            waiting.extend(path + "/" + c for c in children)
print(json.dumps({"nodes": nodes, "seconds": time.monotonic() - begin}))
for zk in (a, b):
    zk.stop()
    zk.close()
