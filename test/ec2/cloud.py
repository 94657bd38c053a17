"""moto with what the tests need of a cloud: `cloud.py HOST PORT PUBLIC [eucalyptus]`.

PUBLIC is the first three parts of the public addresses, 127.x.y: nothing of it leaves this machine. As EC2 does and
moto does not, a terminated instance takes its network interface with it and gives its private address free, an
instance tells the security groups of its interface, and a rule between groups its description. With `eucalyptus` the
calls that Eucalyptus 5.1 does not have are refused, `GET /refused` answers which have been asked for, and there is a
region of that name with one zone, `one`.
"""

import io
import itertools
import json
import os
import sys
import tempfile
from urllib.parse import parse_qs

HOST, PORT, PUBLIC = sys.argv[1], int(sys.argv[2]), sys.argv[3]
DEBIAN = "136693071363"


def image(name: str, ami: str, day: str) -> dict:
    return {
        "ami_id": ami,
        "name": name,
        "owner_id": DEBIAN,
        "public": True,
        "virtualization_type": "hvm",
        "architecture": "x86_64",
        "state": "available",
        "image_type": "machine",
        "image_location": f"debian/{name}",
        "root_device_name": "/dev/xvda",
        "root_device_type": "ebs",
        "sriov": "simple",
        "creation_date": f"{day}T00:00:00.000Z",
    }


images = tempfile.NamedTemporaryFile("w", suffix=".json")
json.dump(
    [
        image("debian-12-amd64-20260101-0001", "ami-00000001", "2026-01-01"),
        image("debian-12-amd64-20260201-0002", "ami-00000002", "2026-02-01"),
    ],
    images,
)
images.flush()
os.environ["MOTO_AMIS_PATH"] = images.name
os.environ["MOTO_ALLOW_NONEXISTENT_REGION"] = "true"

from moto.ec2.models import elastic_ip_addresses, elastic_network_interfaces  # noqa: E402
from moto.ec2.models.availability_zones_and_regions import RegionsAndZonesBackend, Zone  # noqa: E402
from moto.ec2.models.instances import Instance  # noqa: E402
from moto.ec2.models.security_groups import SecurityGroupRule  # noqa: E402
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app  # noqa: E402
from werkzeug.serving import run_simple  # noqa: E402

numbers = itertools.count(1)


def public_address() -> str:
    return f"{PUBLIC}.{next(numbers)}"


elastic_ip_addresses.random_ip = public_address
elastic_network_interfaces.random_public_ip = public_address
terminate = Instance.terminate


def terminate_and_free(self: Instance):
    subnet = self.ec2_backend.get_subnet(self.subnet_id)
    for interface in self.nics.values():
        interface.delete_on_termination = True
    before = terminate(self)
    for address in self._private_ips:
        subnet.del_subnet_ip(address)
    self._private_ips = set()
    return before


Instance.terminate = terminate_and_free
prepare = Instance.prep_nics


def prepare_and_group(self: Instance, *args, **kwargs):
    prepare(self, *args, **kwargs)
    self.security_groups = self.security_groups or list(self.nics[0].group_set)


Instance.prep_nics = prepare_and_group
SecurityGroupRule.description = property(
    lambda self: self.ip_range.get("Description") or self.source_group.get("Description")
)

ABSENT = {"DescribeSecurityGroupRules", "DescribeAddressesAttribute"}
LAST_VERSION = "2016-11-15"
refused: list[str] = []


def missing_in_eucalyptus(form: dict[str, list[str]]) -> str | None:
    """The call, if Eucalyptus does not have it."""
    action = form.get("Action", [""])[0]
    if action in ABSENT or form.get("Version", [""])[0] > LAST_VERSION:
        return action
    if form.get("Attribute") == ["disableApiStop"] or any(k.startswith("DisableApiStop") for k in form):
        return f"{action} disableApiStop"
    return None


def eucalyptus(app):
    def answer(environ, start_response):
        if environ["PATH_INFO"] == "/refused":
            start_response("200 OK", [("content-type", "application/json")])
            return [json.dumps(refused).encode()]
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length)
        if "/ec2/" in environ.get("HTTP_AUTHORIZATION", ""):
            missing = missing_in_eucalyptus(parse_qs(body.decode()))
            if missing is not None:
                refused.append(missing)
                start_response("400 Bad Request", [("content-type", "text/xml")])
                text = f"The action {missing} is not valid for this web service."
                return [
                    "<Response><Errors><Error><Code>InvalidAction</Code>"
                    f"<Message>{text}</Message></Error></Errors><RequestID>0</RequestID></Response>".encode()
                ]
        environ["wsgi.input"] = io.BytesIO(body)
        return app(environ, start_response)

    return answer


cloud = DomainDispatcherApplication(create_backend_app)
RegionsAndZonesBackend.zones["eucalyptus"] = [Zone("one", "eucalyptus", "one")]
if "eucalyptus" in sys.argv[4:]:
    cloud = eucalyptus(cloud)
run_simple(HOST, PORT, cloud, threaded=True)
