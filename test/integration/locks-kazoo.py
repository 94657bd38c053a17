"""A client outside this project looks at a ZooKeeper: prints its tree as JSON, or draws the next sequential child."""

import base64
import json
import sys

from kazoo.client import KazooClient

what, servers, path = sys.argv[1:4]
zk = KazooClient(hosts=servers, auth_data=[("digest", "super:secret")])
zk.start(timeout=10)


def dump(at, into):
    data, _ = zk.get(at)
    acls, _ = zk.get_acls(at)
    into[at] = {
        "data": None if data is None else base64.b64encode(data).decode(),
        "acl": [[a.perms, a.id.scheme, a.id.id] for a in acls],
    }
    for name in zk.get_children(at):
        dump(at + "/" + name, into)
    return into


if what == "dump":
    print(json.dumps(dump(path, {})))
elif what == "draw":
    print(json.dumps(zk.create(path + "/n-", b"", sequence=True)))
zk.stop()
zk.close()
