from pathlib import Path
from typing import Any

import pytest

from torpor_provisioner.contract import Address
from torpor_router.serve.config import BadConfiguration, ServeConfig, Tls, WorkerTls


def test_tls_may_only_be_left_out_where_nobody_else_listens() -> None:
    everywhere = Address("0.0.0.0", 8372)
    with pytest.raises(BadConfiguration, match="--tls-cert"):
        ServeConfig(data=Path("data"), listen=everywhere)
    ServeConfig(data=Path("data"), listen=everywhere, plaintext=True)
    ServeConfig(data=Path("data"), listen=everywhere, tls=Tls(Path("c"), Path("k")))
    ServeConfig(data=Path("data"), listen=Address("127.0.0.2", 8372))


@pytest.mark.parametrize("bad", [{"processes": 0}, {"drain": -1.0}, {"provisioners": ()}])
def test_options_that_cannot_be_meant_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(BadConfiguration, match="TPR-5101"):
        ServeConfig(data=Path("data"), **bad)


def test_each_worker_has_a_metrics_port_of_its_own() -> None:
    config = ServeConfig(data=Path("data"), metrics=Address("127.0.0.1", 9372))
    assert config.for_process(2).metrics == Address("127.0.0.1", 9374)


def test_the_first_process_has_the_status_page() -> None:
    config = ServeConfig(data=Path("data"), status=Address("127.0.0.1", 8373))
    assert config.for_process(0).status == Address("127.0.0.1", 8373)
    assert config.for_process(1).status is None


def test_workers_with_tls_need_a_domain_to_be_told_apart_by() -> None:
    with pytest.raises(BadConfiguration, match="--worker-ca needs --domain"):
        ServeConfig(data=Path("data"), worker_tls=WorkerTls(Path("ca")))
    ServeConfig(data=Path("data"), worker_tls=WorkerTls(Path("ca")), domain="door.test")
