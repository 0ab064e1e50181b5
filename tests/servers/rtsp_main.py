"""An RTSP server of GStreamer's, on its own Python: the system's has the bindings, ours has not.

    rtsp_main.py PORT RTP_PORT    serves rtsp://127.0.0.1:PORT/live, what ffmpeg sends to RTP_PORT

It sends on what comes as RTP with JPEG pictures, and prints a line when it listens.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402  # once the versions are said

_PIPELINE = (
    "( udpsrc address=127.0.0.1 port={port} caps=application/x-rtp,media=video,"
    "encoding-name=JPEG,payload=26,clock-rate=90000 ! rtpjpegdepay ! rtpjpegpay name=pay0 pt=26 )"
)


def main(port: str, rtp_port: str) -> None:
    """Serve until killed."""
    Gst.init(None)
    server = GstRtspServer.RTSPServer.new()
    server.set_address("127.0.0.1")
    server.set_service(port)
    factory = GstRtspServer.RTSPMediaFactory.new()
    factory.set_launch(_PIPELINE.format(port=rtp_port))
    factory.set_shared(True)
    server.get_mount_points().add_factory("/live", factory)
    if not server.attach(None):
        raise SystemExit(f"port {port} is taken")
    print("listening", flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main(*sys.argv[1:])
