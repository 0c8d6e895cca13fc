"""What must hold before a server starts."""

import os
import socket
from pathlib import Path

import pytest

from server.preflight import StartRefused, check_bind, free_address, lock_holder, locked
from server.settings import Settings, split_address


def test_loopback_needs_no_tls() -> None:
    check_bind(Settings(listen="127.0.0.1:50051", metrics_listen="[::1]:9464"))


@pytest.mark.parametrize("field", ["listen", "metrics_listen"])
@pytest.mark.parametrize("address", ["0.0.0.0:50051", "[::]:50051", "ml.example.org:50051"])
def test_an_open_address_without_tls_is_refused_with_the_reason(field: str, address: str) -> None:
    settings = Settings(**{field: address})  # type: ignore[arg-type]  # both fields are text

    with pytest.raises(StartRefused) as caught:
        check_bind(settings)

    assert address in str(caught.value)
    assert "PAEDSRESUS_TLS_CLIENT_CA_FILE are not set: anybody could call" in str(caught.value)


def test_an_open_address_with_all_three_files_is_accepted(tmp_path: Path) -> None:
    pem = tmp_path / "any.pem"
    pem.write_text("")

    check_bind(Settings(listen="0.0.0.0:50051", tls_certificate_file=pem, tls_key_file=pem, tls_client_ca_file=pem))


def test_half_a_tls_configuration_is_refused_even_on_loopback(tmp_path: Path) -> None:
    with pytest.raises(StartRefused, match=r"TLS needs all three files; PAEDSRESUS_TLS_KEY_FILE, .* not set"):
        check_bind(Settings(tls_certificate_file=tmp_path / "cert.pem"))


def test_a_tls_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    pem, gone = tmp_path / "any.pem", tmp_path / "gone.pem"
    pem.write_text("")

    with pytest.raises(StartRefused, match=r"PAEDSRESUS_TLS_KEY_FILE names .*gone\.pem"):
        check_bind(Settings(tls_certificate_file=pem, tls_key_file=gone, tls_client_ca_file=pem))


def test_a_state_folder_has_one_server_and_the_second_is_told_its_pid(tmp_path: Path) -> None:
    with locked(tmp_path / "state"):
        assert lock_holder(tmp_path / "state") == os.getpid()
        with pytest.raises(StartRefused, match=f"in use by process {os.getpid()}"), locked(tmp_path / "state"):
            pass

    assert lock_holder(tmp_path / "state") is None
    with locked(tmp_path / "state"):
        pass


def test_a_state_folder_that_cannot_be_used_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StartRefused, match="file/state cannot be used: Not a dir"), locked(tmp_path / "file" / "state"):
        pass


def test_no_server_runs_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert lock_holder(tmp_path / "state") is None


def test_a_port_is_taken_even_when_its_owner_would_share_it() -> None:
    with socket.socket() as owner:
        owner.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        owner.bind(("127.0.0.1", 0))
        owner.listen()
        port = owner.getsockname()[1]

        with pytest.raises(StartRefused, match=f"cannot listen on 127.0.0.1:{port}.*set PAEDSRESUS_LISTEN"):
            free_address(f"127.0.0.1:{port}", "PAEDSRESUS_LISTEN")


def test_port_0_becomes_a_real_one() -> None:
    host, port = split_address(free_address("127.0.0.1:0", "PAEDSRESUS_LISTEN"))

    assert host == "127.0.0.1"
    assert port > 0


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(StartRefused, match=r"cannot listen on 192\.0\.2\.1:1"):
        free_address("192.0.2.1:1", "PAEDSRESUS_LISTEN")
