"""What is known of a video, and what cannot be opened as one."""

import os
import shutil
import subprocess
import threading
from fractions import Fraction

import cv2
import numpy as np
import pytest

from samcore.errors import InputError, VideoError
from samcore.video import VideoInfo, open_video, source_digest
from samcore.video.decoder import find_ffmpeg


def test_video_info_survives_json(clips):
    """A VideoInfo read back from JSON is equal, with its fractions exact and readable."""
    info = open_video(clips.path("open-gop.mp4")).info
    text = info.model_dump_json()

    assert VideoInfo.model_validate_json(text) == info
    assert '"time_base":"1/12288"' in text
    assert '"avg_rate":"24/1"' in text


@pytest.mark.parametrize("ratio", ["1/0", "fast", 0.04, None])
def test_a_ratio_must_be_exact(clips, ratio):
    """A time base that is no exact fraction is refused."""
    record = open_video(clips.path("plain.mp4")).info.model_dump(mode="json")

    with pytest.raises(ValueError, match="wanted a fraction"):
        VideoInfo.model_validate({**record, "time_base": ratio})


def test_what_is_found_and_what_is_claimed_are_kept_apart(clips):
    """A header that claims a thousand frames does not change what the scan found."""
    info = open_video(clips.path("overcounted.avi")).info

    assert info.num_frames == 60
    assert info.duration_s == pytest.approx(2.5)
    assert info.header_duration_s == pytest.approx(1000 / 24, abs=0.01)
    assert info.damaged is None


@pytest.mark.parametrize(
    ("name", "claimed", "found"), [("overcounted.avi", 1000, 60), ("truncated.mp4", 60, 37)]
)
def test_the_header_is_quoted(clips, name, claimed, found):
    """The number of frames that the header claims is reported beside the true one, where there is
    the ffprobe that tells it."""
    info = open_video(clips.path(name)).info

    assert info.header_num_frames == (claimed if shutil.which("ffprobe") else None)
    assert info.num_frames == pytest.approx(found, abs=3)


@pytest.mark.usefixtures("bundled_ffmpeg")
def test_without_ffprobe_nothing_is_claimed(clips):
    """A machine that has only the bundled ffmpeg finds the same frames."""
    info = open_video(clips.path("overcounted.avi")).info

    assert info.header_num_frames is None
    assert info.num_frames == 60


@pytest.mark.parametrize(
    ("name", "damaged"),
    [
        ("plain.mp4", False),
        ("open-gop.mkv", False),
        ("edit-list.mp4", False),
        ("doubled-pts.mkv", False),
        ("truncated.mkv", True),
        ("truncated.mp4", True),
        ("corrupted.mp4", True),
    ],
)
def test_open_video_tells_damage(clips, name, damaged):
    """What ffmpeg complained of is in the info of a damaged file, and of no other."""
    info = open_video(clips.path(name)).info

    assert (info.damaged is not None) == damaged


@pytest.mark.parametrize(
    ("name", "rate", "variable"),
    [
        ("open-gop.mp4", Fraction(24), False),
        ("open-gop.mkv", Fraction(24), False),
        ("b-frames.avi", Fraction(24), False),
        ("variable-rate.mp4", None, True),
        ("variable-rate.mkv", None, True),
        ("doubled-pts.mkv", None, True),
    ],
)
def test_the_rate_is_the_one_of_the_time_stamps(clips, name, rate, variable):
    """A constant rate is found exactly, also through Matroska's milliseconds."""
    info = open_video(clips.path(name)).info

    assert info.variable_rate == variable
    assert rate is None or info.avg_rate == rate


@pytest.mark.parametrize(
    "name", ["open-gop.mkv", "variable-rate.mp4", "transport-stream.ts", "negative-start.ts"]
)
def test_a_frames_own_time_names_it(clips, name):
    """`frame_at` undoes `time_s`, also after rounding to a float, wherever time begins."""
    source = open_video(clips.path(name))

    assert source.time_s(0) == 0
    for frame_idx in range(source.info.num_frames):
        time_s = source.time_s(frame_idx)
        assert time_s == (source.pts(frame_idx) - source.pts(0)) * source.info.time_base
        assert source.frame_at(float(time_s)) == frame_idx


def test_a_frame_is_shown_until_the_next_one(clips):
    """In the gap that a missing frame leaves, the frame before it is on the screen."""
    source = open_video(clips.path("variable-rate.mp4"))
    gaps = [float(source.time_s(i + 1) - source.time_s(i)) for i in range(30)]
    before_gap = int(np.argmax(gaps))

    middle_s = float(source.time_s(before_gap)) + gaps[before_gap] * 0.9
    assert source.frame_at(middle_s) == before_gap
    assert source.frame_at(source.info.duration_s - 0.001) == source.info.num_frames - 1


@pytest.mark.parametrize("time_s", [-0.1, 2.51, float("nan"), float("inf")])
def test_a_time_outside_is_refused(clips, time_s):
    """A time before the first frame or past the end names the limit."""
    source = open_video(clips.path("open-gop.mp4"))

    with pytest.raises(InputError, match=r"from 0 to 2\.5 s"):
        source.frame_at(time_s)


def test_time_stamps_never_run_back(clips):
    """Where a recording's clock starts again, the time stamps given do not fall."""
    source = open_video(clips.path("changing-size.ts"))
    pts = [source.pts(i) for i in range(source.info.num_frames)]

    assert pts == sorted(pts)


@pytest.mark.parametrize(("start", "stop"), [(-1, 5), (5, 4), (0, 61), (61, None)])
def test_frames_outside_are_refused(clips, start, stop):
    """A stretch that is not in the video is an error that says how many frames there are."""
    source = open_video(clips.path("open-gop.mp4"))

    with pytest.raises(InputError, match="60"):
        source.read(start, stop)


@pytest.mark.parametrize("frame_idx", [-1, 60])
def test_a_frame_outside_is_refused(clips, frame_idx):
    """A frame that is not in the video is an error that names the last one."""
    source = open_video(clips.path("open-gop.mp4"))

    for ask in (source.frame, source.pts, source.time_s):
        with pytest.raises(InputError, match="59"):
            ask(frame_idx)


def test_an_empty_stretch_has_no_frames(clips):
    """[n, n) is a stretch, of no frames."""
    source = open_video(clips.path("open-gop.mp4"))

    with source.read(60, 60) as reader:
        assert list(reader) == []


def test_the_index_is_kept_and_used(clips, tmp_path):
    """A second opening decodes nothing, and knows the same."""
    path, index_path = clips.path("open-gop.mp4"), tmp_path / "made" / "index.parquet"
    counts: list[int] = []
    first = open_video(
        path, index_path=index_path, on_progress=lambda done, total: counts.append(done)
    )
    assert counts == list(range(1, 61))
    assert [entry.name for entry in index_path.parent.iterdir()] == ["index.parquet"]

    counts.clear()
    second = open_video(
        path, index_path=index_path, on_progress=lambda done, total: counts.append(done)
    )
    assert counts == []
    assert second.info == first.info
    assert (second.index.checksum_n == first.index.checksum_n).all()
    assert (second.frame(31).image_rgb_hwc_u8 == first.frame(31).image_rgb_hwc_u8).all()


@pytest.mark.parametrize(
    "spoil", ["other file", "cut off", "text", "other version", "older format"]
)
def test_an_index_that_does_not_fit_is_made_again(clips, tmp_path, spoil):
    """An index of another content, a damaged one or one of another ffmpeg is not believed."""
    path, index_path = tmp_path / "video.mp4", tmp_path / "index.parquet"
    shutil.copy(clips.path("open-gop.mp4"), path)
    open_video(path, index_path=index_path)
    if spoil == "other file":
        shutil.copy(clips.path("plain.mp4"), path)
    elif spoil == "cut off":
        index_path.write_bytes(index_path.read_bytes()[:-100])
    elif spoil == "text":
        index_path.write_text("an index")
    else:
        old, new = b"longtake-frame-index-2", b"longtake-frame-index-1"
        if spoil == "other version":
            old = find_ffmpeg().version.encode()
            new = old[::-1]
        data = index_path.read_bytes()
        assert old in data
        index_path.write_bytes(data.replace(old, new))

    again = open_video(path, index_path=index_path)

    fresh = open_video(path)
    assert again.info == fresh.info
    assert (again.index.checksum_n == fresh.index.checksum_n).all()
    assert open_video(path, index_path=index_path).info == fresh.info


def test_the_digest_goes_by_content(clips, tmp_path):
    """A copy under another name has the same digest; one changed byte gives another."""
    path = clips.path("plain.mp4")
    copy = tmp_path / "copy.mp4"
    shutil.copy(path, copy)
    assert source_digest(copy) == source_digest(path) == open_video(path).info.digest

    data = bytearray(copy.read_bytes())
    data[-1] ^= 1
    copy.write_bytes(data)
    assert source_digest(copy) != source_digest(path)


def test_reading_a_file_for_its_digest_shows(clips, tmp_path):
    """A long video is read for a minute before its scan begins: how far that is can be told; what
    was read before is not read again."""
    copy = tmp_path / "copy.mp4"
    shutil.copy(clips.path("plain.mp4"), copy)
    size = copy.stat().st_size
    told: list[object] = []

    open_video(
        copy,
        on_read=lambda done, total: told.append(("read", done, total)),
        on_progress=lambda done, total: told.append("scan"),
    )

    assert told[told.index("scan") - 1] == ("read", size, size)
    assert told[0] != "scan"
    assert ("read", size, size) not in told[told.index("scan") :]
    told.clear()
    open_video(copy, on_read=lambda done, total: told.append((done, total)))
    assert not told


@pytest.mark.parametrize(
    "name", ["-i.mp4", "a:b.mp4", "50%d.mp4", "sp ace 'quote\".mp4", "ünï.mp4", "[0].mp4"]
)
def test_odd_names_are_only_names(clips, tmp_path, monkeypatch, name):
    """A name that looks like an option, an address or a pattern opens that very file."""
    shutil.copy(clips.path("plain.mp4"), tmp_path / name)
    monkeypatch.chdir(tmp_path)

    source = open_video(name)

    assert source.info.num_frames == 60
    assert source.frame(59).frame_idx == 59


@pytest.mark.parametrize(
    "name", [b"caf\xe9.mp4", b"caf\xe9/video.mp4", b"folder/caf\xe9.png", b"caf\xe9/1.png"]
)
def test_a_name_that_is_not_utf8_is_told(clips, tmp_path, name):
    """A file, image or folder whose name cannot be written down is refused with the way out, in
    letters that any terminal shows."""
    path = tmp_path / os.fsdecode(name)
    path.parent.mkdir(exist_ok=True)
    source = path
    if path.suffix == ".png":
        source = path.parent
        path.write_bytes(cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    else:
        shutil.copy(clips.path("plain.mp4"), path)

    with pytest.raises(VideoError, match=r"caf\\udce9.* is not UTF-8: rename the file") as caught:
        open_video(source)
    assert str(caught.value).isascii()
    assert "\n" not in str(caught.value)


def _write_sound(path):
    command = [find_ffmpeg().path, "-v", "error", "-f", "lavfi", "-i", "sine=duration=1"]
    subprocess.run([*command, str(path)], check=True)


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("gone.mp4", lambda path: None, "no video at"),
        ("empty.mp4", lambda path: path.touch(), "is empty"),
        ("text.mp4", lambda path: path.write_text("hello\n" * 50), "cannot be opened as a video"),
        (
            "noise.mkv",
            lambda path: path.write_bytes(os.urandom(5000)),
            "opened as a video|playlist",
        ),
        ("sound.mp4", _write_sound, "no video stream"),
        ("folder", lambda path: path.mkdir(), "no JPEG, PNG, BMP"),
        ("pipe.mp4", os.mkfifo, "neither a file nor a folder"),
    ],
)
@pytest.mark.usefixtures("each_ffmpeg")
def test_what_is_no_video_is_told_in_one_line(tmp_path, name, make, message):
    """Each thing that cannot be a source is refused with one line that says why."""
    path = tmp_path / name
    make(path)

    with pytest.raises(VideoError, match=message) as caught:
        open_video(path)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_open_video_tells_that_permission_is_missing(clips, tmp_path):
    """A file that may not be read is an error that says so."""
    path = tmp_path / "secret.mp4"
    shutil.copy(clips.path("plain.mp4"), path)
    path.chmod(0)

    with pytest.raises(VideoError, match="Permission denied"):
        open_video(path)


def test_an_address_is_not_opened():
    """A source on the network is refused with the way out."""
    with pytest.raises(VideoError, match="download it first"):
        open_video("http://127.0.0.1:9/video.mp4")


def test_no_frame_at_all_is_an_error(clips, tmp_path):
    """A container whose pictures are all unreadable is refused."""
    data = bytearray(clips.path("plain.mp4").read_bytes())
    place = data.index(b"mdat") + 4
    data[place:] = bytes(len(data) - place)
    path = tmp_path / "blank.mp4"
    path.write_bytes(data)

    with pytest.raises(VideoError, match="not one frame of"):
        open_video(path)


class _Trap:
    """A named pipe that notices when anyone opens it for reading."""

    def __init__(self, path):
        os.mkfifo(path)
        self._path = path
        self.sprung = threading.Event()
        self._thread = threading.Thread(target=self._wait)
        self._thread.start()

    def _wait(self):
        descriptor = os.open(self._path, os.O_WRONLY)  # waits for a reader
        self.sprung.set()
        os.close(descriptor)

    def release(self):
        sprung = self.sprung.is_set()
        os.close(os.open(self._path, os.O_RDONLY | os.O_NONBLOCK))
        self._thread.join()
        return sprung


_SCRIPTS = {
    "hls": "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n"
    "#EXTINF:1,\n{trap}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile '{trap}'\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT1S"><Period><AdaptationSet mimeType="video/mp4">'
    '<Representation id="0" bandwidth="1"><BaseURL>{trap}</BaseURL></Representation>'
    "</AdaptationSet></Period></MPD>",
    "ssa": "[Script Info]\nScriptType: v4.00+\n[Events]\n"
    "Dialogue: 0,0:00:00.00,0:00:01.00,,{trap}\n",
}


@pytest.mark.parametrize("script", list(_SCRIPTS))
@pytest.mark.parametrize("suffix", [".mp4", ".m3u8"])
@pytest.mark.usefixtures("each_ffmpeg")
def test_a_script_that_poses_as_a_video_opens_nothing(tmp_path, script, suffix):
    """A playlist under a video's name is refused, and the file that it names stays shut."""
    trap = _Trap(tmp_path / "other.ts")
    path = tmp_path / f"video{suffix}"
    path.write_text(_SCRIPTS[script].format(trap="other.ts"))
    try:
        with pytest.raises(VideoError, match="wanted a video file"):
            open_video(path)
    finally:
        sprung = trap.release()
    assert not sprung


def test_trap_for_opened_files_notices_an_opening(tmp_path):
    """Without our limits, ffmpeg does open the file that the concat script names."""
    trap = _Trap(tmp_path / "other.ts")
    path = tmp_path / "script.mp4"
    path.write_text(_SCRIPTS["concat"].format(trap="other.ts"))
    command = [find_ffmpeg().path, "-nostdin", "-i", str(path), "-f", "null", "-"]
    try:
        subprocess.run(command, capture_output=True, timeout=60)
    finally:
        sprung = trap.release()
    assert sprung


def test_a_title_cannot_pose_as_a_frame(clips, tmp_path):
    """Metadata that reads like ffmpeg's own log of a frame adds no frame."""
    line = (
        "[Parsed_showinfo_0 @ 0x1] [info] n:   0 pts:      0 pts_time:0 fmt:yuv420p s:9x9 i:P "
        "iskey:1 type:I checksum:00000000 plane_checksum:[00000000] mean:[1] stdev:[1]"
    )
    path = tmp_path / "titled.mp4"
    command = [find_ffmpeg().path, "-v", "error", "-i", str(clips.path("plain.mp4"))]
    title = f"title={line}\n{line}\r{line}"
    subprocess.run([*command, "-c", "copy", "-metadata", title, str(path)], check=True)

    info = open_video(path).info

    assert (info.num_frames, info.width, info.height) == (60, 160, 120)
