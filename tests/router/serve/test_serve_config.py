from pathlib import Path

import pytest

from torpor_router.serve.config import BadConfiguration, Listen, ServeConfig, Tls


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:80", Listen("127.0.0.1", 80)),
        ("router.example", Listen("router.example", 8372)),
        (":9000", Listen("0.0.0.0", 9000)),
        ("[::1]:80", Listen("::1", 80)),
        ("[::]", Listen("::", 8372)),
        ("localhost:0", Listen("localhost", 0)),
    ],
)
def test_an_address_is_read(text: str, expected: Listen) -> None:
    assert Listen.parse(text, 8372) == expected


@pytest.mark.parametrize("text", ["a:b", "a:", "a:99999", "a:-1", "[::1", "[::1]80", "a:²"])
def test_a_bad_address_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(BadConfiguration, match="cannot read") as refused:
        Listen.parse(text, 8372)
    assert repr(text) in str(refused.value)


@pytest.mark.parametrize("text", ["127.0.0.1:80", "[::1]:80", "localhost:80"])
def test_an_address_comes_back_as_it_was_written(text: str) -> None:
    assert str(Listen.parse(text, 1)) == text


def test_tls_may_only_be_left_out_where_nobody_else_listens() -> None:
    everywhere = Listen("0.0.0.0", 8372)
    with pytest.raises(BadConfiguration, match="--tls-cert"):
        ServeConfig(data=Path("data"), listen=everywhere)
    ServeConfig(data=Path("data"), listen=everywhere, plaintext=True)
    ServeConfig(data=Path("data"), listen=everywhere, tls=Tls(Path("c"), Path("k")))
    ServeConfig(data=Path("data"), listen=Listen("127.0.0.2", 8372))


@pytest.mark.parametrize("bad", [{"workers": 0}, {"drain": -1.0}, {"provisioners": ()}])
def test_options_that_cannot_be_meant_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(BadConfiguration, match="TPR-5101"):
        ServeConfig(data=Path("data"), **bad)


def test_each_worker_has_a_metrics_port_of_its_own() -> None:
    config = ServeConfig(data=Path("data"), metrics=Listen("127.0.0.1", 9372))
    assert config.for_worker(2).metrics == Listen("127.0.0.1", 9374)
