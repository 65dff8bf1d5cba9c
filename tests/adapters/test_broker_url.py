from pathlib import Path

import pytest

from flows.adapters.kafka.broker import KafkaBroker
from flows.adapters.sqlite.log import LogBroker
from flows.errors import ConfigError
from flows.runtime.broker_url import open_broker


def test_the_scheme_chooses_the_broker(tmp_path: Path) -> None:
    assert isinstance(open_broker(f"file://{tmp_path}/log.db", {}), LogBroker)
    assert isinstance(open_broker("kafka://127.0.0.1:9092", {}), KafkaBroker)
    assert isinstance(open_broker("kafka://one:9092,two:9093", {}), KafkaBroker)


def test_escaped_characters_of_a_file_address_are_read(tmp_path: Path) -> None:
    open_broker(f"file://{tmp_path}/my%20log.db", {})
    assert (tmp_path / "my log.db").exists()


@pytest.mark.parametrize(
    "url",
    ["", "kafka://", "kafka://host", "kafka://host:port", "redis://host:1", "file://relative.db", "file:///"],
)
def test_any_other_address_says_what_to_write(url: str) -> None:
    with pytest.raises(ConfigError, match=r"kafka://host:port.* or file:///absolute/path/log\.db"):
        open_broker(url, {})


def test_credentials_in_an_address_are_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        open_broker("kafka://user:hunter2@host:9092", {})
    assert "hunter2" not in str(caught.value)
