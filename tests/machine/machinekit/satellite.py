"""What makes the machine a satellite: the product's own user data, filled in as at a launch."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import replace
from unittest.mock import patch
from uuid import UUID

from torpor_provisioner import bootstrap
from torpor_provisioner.contract import Arch, Spec
from torpor_provisioner.ec2 import plan
from torpor_provisioner.ec2.settings import Ec2Settings, Place

SPEC = Spec(
    satellite_id=UUID(int=8), generation=1, org="acme", name="one", arch=Arch.X86_64, size=""
)
WORKER = 8372


def user_data(worker: bytes) -> bytes:
    """As it is, but for the sum of BuildKit's archive: a stand-in of its own lies in the image. And
    longer than EC2 takes, so that the machine unpacks it."""
    module = sys.modules["torpor_provisioner.bootstrap.recipe"]
    sums = (hashlib.sha256(worker).hexdigest(),) * 2
    with patch.object(module, "BUILDKIT", replace(module.BUILDKIT, sums=sums)):
        template = bootstrap.user_data(bootstrap.Machine(system=bootstrap.System.UBUNTU))
    template += "# more\n" * (plan.MAX_USER_DATA // 7)
    place = Place(region="eu-west-1", subnets=("subnet-1",), security_groups=("sg-1",))
    images = {Arch.X86_64: "ami-0123456789abcdef0"}
    settings = Ec2Settings(deployment="machine", place=place, images=images, user_data=template)
    return plan.user_data(SPEC, settings)
