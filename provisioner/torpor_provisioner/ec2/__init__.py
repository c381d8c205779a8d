"""The `ec2` provisioner: a satellite is an EC2 instance that hibernates or stops.

From the outside in:

    provisioner   the contract's calls
    launching     find, or try size by size and zone by zone   (plan, caps)
    power         wake and sleep
    changing      resize, grow and update what is stopped
    ending        terminate, with every volume
    site          one account and Region                       (kinds, batches, observer)
    api           one request                                  (throttle, buckets, faults)
    accounts      sessions, one role an account
    feed          EC2's events, where there is a queue for them
    rehearsal     every call as a dry run, for `torpor doctor`
    actions       every call that AWS must allow us, and its published limits

`plan`, `kinds`, `machines`, `buckets`, `faults` and `tags` decide and do no I/O. To test on
there is another EC2, `torpor_provisioner.faithful_ec2`, which the demo plays too.
"""

from torpor_provisioner.ec2.provisioner import Ec2Provisioner
from torpor_provisioner.ec2.settings import Ec2Settings, Place

__all__ = ["Ec2Provisioner", "Ec2Settings", "Place"]
