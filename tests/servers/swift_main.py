"""OpenStack Swift with its S3 interface as one process, for tests: `python swift_main.py FOLDER`.

All four servers (proxy, account, container, object) run on green threads. They bind ports that the
system chooses and say the proxy's as one line on the standard output.
"""

# Sockets, threads and sleeps must be green before swift and ssl are imported.
import eventlet

eventlet.monkey_patch()

import logging  # noqa: E402
import os  # noqa: E402
import shutil  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import swift.common.utils  # noqa: E402
import swift.common.utils.config  # noqa: E402
from eventlet import wsgi  # noqa: E402

ACCESS_KEY = "test:tester"
SECRET_KEY = "testing-7f3aQx91"
# A test's server need not outlive a power cut, and the disk is not what is tested.
os.fsync = os.fdatasync = lambda descriptor: None
_LAYERS = ("object", "container", "account")
_FILTERS = (
    "catch_errors gatekeeper listing_formats s3api tempauth copy slo dlo versioned_writes symlink"
)
_OPTIONS = {
    "s3api": "s3_acl = false\nlocation = us-east-1\nallow_multipart_uploads = true\n"
    # Short pages, so that tests see more than one.
    "min_segment_size = 5242880\nmax_bucket_listing = 10\n",
    "tempauth": f"user_{ACCESS_KEY.replace(':', '_')} = {SECRET_KEY} .admin\n",
    "versioned_writes": "allow_object_versioning = true\n",
}


def _configure(etc: Path) -> None:
    """Swift reads its hash and storage policies at import, from a path that is a module global."""
    conf = etc / "swift.conf"
    conf.write_text(
        "[swift-hash]\nswift_hash_path_suffix = tests\nswift_hash_path_prefix = tests\n"
        "[storage-policy:0]\nname = only\ndefault = yes\n"
    )
    swift.common.utils.SWIFT_CONF_FILE = str(conf)
    swift.common.utils.config.SWIFT_CONF_FILE = str(conf)
    swift.common.utils.validate_configuration()
    from swift.common import constraints, storage_policy

    constraints.reload_constraints()
    storage_policy.reload_storage_policies()


def _write_rings(etc: Path, ports: dict[str, int]) -> None:
    """One device and one replica for each layer."""
    from swift.common.ring import RingBuilder

    for layer, port in ports.items():
        builder = RingBuilder(4, 1, 1)
        host = {"ip": "127.0.0.1", "port": port}
        replication = {"replication_ip": "127.0.0.1", "replication_port": port}
        builder.add_dev(
            {"region": 1, "zone": 1, "device": "d1", "weight": 1.0, "meta": ""} | host | replication
        )
        builder.rebalance()
        builder.get_ring().save(str(etc / f"{layer}.ring.gz"))


def _write_servers(etc: Path, devices: Path) -> None:
    common = (
        f"[DEFAULT]\nswift_dir = {etc}\ndevices = {devices}\nmount_check = false\n"
        "log_level = CRITICAL\nlog_address = /nonexistent\nfallocate_reserve = 0\n"
    )
    for layer in _LAYERS:
        (etc / f"{layer}.conf").write_text(
            f"{common}[pipeline:main]\npipeline = {layer}-server\n"
            f"[app:{layer}-server]\nuse = egg:swift#{layer}\n"
        )
    filters = "".join(
        f"[filter:{name}]\nuse = egg:swift#{name}\n{_OPTIONS.get(name, '')}"
        for name in _FILTERS.split()
    )
    (etc / "proxy.conf").write_text(
        f"{common}[pipeline:main]\npipeline = {_FILTERS} proxy-server\n"
        "[app:proxy-server]\nuse = egg:swift#proxy\naccount_autocreate = true\n"
        f"allow_account_management = true\n{filters}"
    )


class _Cache:
    """What memcached is to Swift: without it every request asks for its account and container."""

    def __init__(self) -> None:
        self._values: dict[str, object] = {}

    def get(self, key: str, raise_on_error: bool = False) -> object:
        return self._values.get(key)

    def set(self, key: str, value: object, **options: object) -> None:
        self._values[key] = value

    def delete(self, key: str, server_key: str | None = None) -> None:
        self._values.pop(key, None)

    def incr(self, key: str, delta: int = 1, **options: object) -> int:
        value = int(str(self._values.get(key, 0))) + delta
        self._values[key] = value
        return value


def _with_cache(app: Any) -> Any:
    cache = _Cache()

    def serve(environ: dict[str, object], start_response: object) -> object:
        environ["swift.cache"] = cache
        return app(environ, start_response)

    return serve


def _end_with_parent(folder: Path) -> None:
    """The pipe on our standard input ends when whoever started us does, however it does."""
    eventlet.patcher.original("os").read(0, 1)
    shutil.rmtree(folder.parent, ignore_errors=True)
    os._exit(0)


def main(folder: Path) -> None:
    """Serve until the standard input ends."""
    etc, devices = folder / "etc", folder / "srv"
    etc.mkdir(parents=True)
    (devices / "d1").mkdir(parents=True)
    _configure(etc)
    from swift.common.wsgi import SwiftHttpProtocol, loadapp

    sockets = {name: eventlet.listen(("127.0.0.1", 0)) for name in (*_LAYERS, "proxy")}
    _write_rings(etc, {layer: sockets[layer].getsockname()[1] for layer in _LAYERS})
    _write_servers(etc, devices)
    logger = logging.getLogger("swift-tests")
    logger.addHandler(logging.NullHandler())
    servers = []
    for name, socket in sockets.items():
        app = loadapp(str(etc / f"{name}.conf"), global_conf={"log_requests": "false"})
        if name == "proxy":
            app = _with_cache(app)
        servers.append(
            eventlet.spawn(
                wsgi.server, socket, app, logger, protocol=SwiftHttpProtocol, log_output=False
            )
        )
    print(sockets["proxy"].getsockname()[1], flush=True)
    # A real thread: a green one would block all the others in its read.
    eventlet.patcher.original("threading").Thread(
        target=_end_with_parent, args=(folder,), daemon=True
    ).start()
    for server in servers:
        server.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
