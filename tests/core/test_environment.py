import platform
import socket
from importlib.metadata import version

from holdfast.core import environment


def test_software_names_what_influences_numbers():
    found = environment.software()
    assert found["python"] == platform.python_version()
    assert found["torch"] == version("torch")
    assert "holdfast" in found


def test_machine_has_cores_and_memory():
    found = environment.machine()
    assert found["cores"] >= 1
    assert found["memory_bytes"] > 2**28
    assert found["processor"]
    assert environment.host() == socket.gethostname()
