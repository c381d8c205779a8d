"""A satellite on a real machine: Debian under QEMU, with the product's own user data.

`image` builds what it boots from, `cloud` is the part of EC2 that it asks, `vm` the machine,
`satellite` the product's user data on it. The checks are in ../test_*.py; `make machine` runs them.

What only AWS has cannot be had here: Amazon Linux 2023 (its dnf, dracut and SELinux), its agent
ec2-hibinit-agent (a stand-in asks systemd for the hibernation as it does) and NVMe names; nor can
BuildKit: a stand-in listens in its place and is asked for its health, and runs no builds.
"""
