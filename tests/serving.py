"""A served index, and its limits, for the tests of the page and of the HTTP API."""

from dataclasses import dataclass
from pathlib import Path

from allinone.apps.serve.limits import Limits
from allinone.apps.serve.service import Service

ODD_NAME = "<img src=x onerror=alert(1)>${alert(1)}{{7*7}} 'so' & \U0001f415.mp4"
LIMITS = Limits(max_upload_mb=1, max_body_kb=64, body_sec=2, upload_sec=2, max_waiting=2, wait_sec=5)


@dataclass(frozen=True)
class Served:
    url: str
    service: Service
    folder: Path
