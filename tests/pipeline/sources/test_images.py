"""Images and video frames by path."""

import io
import os
import re
import struct
import zlib

import cv2
import numpy as np
import pytest

from pipeline import images
from pipeline.body.plain_pickle import load_plain_pickle
from pipeline.errors import InputError
from pipeline.image_header import Header, read_header
from pipeline.images import (
    VideoReader,
    frame_path,
    image_size,
    read_image,
    resolve,
    split_frame,
    turn_points,
    upright_path,
)
from pipeline.sources.parsing import load_json, load_xml


def picture(width=40, height=30, seed=0):
    return cv2.GaussianBlur(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8), (0, 0), 3)


def with_orientation(jpeg: bytes, tag: int) -> bytes:
    """A JPEG with an EXIF segment that says how the picture is turned."""
    tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0" + bytes([tag, 0, 0, 0]) + b"\0\0\0\0"
    body = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + jpeg[2:]


def test_colours_are_rgb_and_stored_pixels_are_not_turned(tmp_path):
    red = np.zeros((20, 30, 3), np.uint8)
    red[..., 2] = 255  # OpenCV writes blue first
    cv2.imwrite(str(tmp_path / "a.png"), red)
    assert read_image(tmp_path, "a.png")[0, 0].tolist() == [255, 0, 0]
    jpeg = cv2.imencode(".jpg", red)[1].tobytes()
    (tmp_path / "b.jpg").write_bytes(with_orientation(jpeg, 6))
    assert read_image(tmp_path, "b.jpg").shape == (20, 30, 3)
    assert image_size(tmp_path / "b.jpg") == Header(30, 20, 6)


def test_grey_and_transparent_images_become_rgb(tmp_path):
    cv2.imwrite(str(tmp_path / "grey.jpg"), np.full((8, 9), 70, np.uint8))
    cv2.imwrite(str(tmp_path / "clear.png"), np.full((8, 9, 4), 70, np.uint8))
    assert read_image(tmp_path, "grey.jpg").shape == read_image(tmp_path, "clear.png").shape == (8, 9, 3)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tif", ".gif"])
def test_size_from_the_header_is_the_decoded_size(tmp_path, suffix):
    cv2.imwrite(str(tmp_path / f"x{suffix}"), picture(53, 31))
    assert image_size(tmp_path / f"x{suffix}") == Header(53, 31, 1)


@pytest.mark.parametrize("path", ["../x.jpg", "a/../../x.jpg", "/etc/passwd", "", "a\\..\\x.jpg", "a\0.jpg"])
def test_a_path_that_climbs_out_is_refused(tmp_path, path):
    with pytest.raises(InputError, match="leads out of the dataset's folder"):
        resolve(tmp_path, path)
    with pytest.raises(InputError, match="leads out"):
        read_image(tmp_path, path + "#frame=3" if path else path)


def test_a_name_that_no_file_can_have_is_refused(tmp_path):
    with pytest.raises(InputError, match="more than 255 bytes, which no file can be called"):
        resolve(tmp_path, f"a/{'é' * 128}.jpg")
    with pytest.raises(InputError, match="does not exist"):
        VideoReader(tmp_path / f"{'9' * 300}.mp4")


def test_missing_damaged_and_wrong_size(tmp_path):
    with pytest.raises(InputError, match="gone.jpg does not exist"):
        read_image(tmp_path, "gone.jpg")
    with pytest.raises(InputError, match="gone.jpg does not exist"):
        image_size(tmp_path / "gone.jpg")
    jpeg = cv2.imencode(".jpg", picture())[1].tobytes()
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("<html>not found</html>")
    for name in ("empty.jpg", "text.jpg"):
        with pytest.raises(InputError, match=f"{name} cannot be decoded"):
            read_image(tmp_path, name)
        with pytest.raises(InputError, match=f"{name} cannot be decoded"):
            image_size(tmp_path / name)
    (tmp_path / "good.jpg").write_bytes(jpeg)
    with pytest.raises(InputError, match="good.jpg has 40 x 30 pixels, its annotation says 30 x 40"):
        read_image(tmp_path, "good.jpg", (30, 40))
    with pytest.raises(InputError, match="cannot be read"):
        (tmp_path / "folder.jpg").mkdir()
        read_image(tmp_path, "folder.jpg")


# --- what a file announces


def exif(tag: int, order: str = "MM") -> bytes:
    """A TIFF header whose first directory says how the picture is turned."""
    if order == "II":
        return b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0" + bytes([tag, 0, 0, 0]) + b"\0\0\0\0"
    return b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0" + bytes([tag, 0, 0]) + b"\0\0\0\0"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def encoded(suffix: str, image: np.ndarray, tag: int) -> bytes:
    """An image file (RGB) with an orientation flag."""
    data = cv2.imencode(suffix, image[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, 101] if suffix == ".webp" else [])[
        1
    ].tobytes()
    if suffix == ".jpg":
        return with_orientation(data, tag)
    if suffix == ".png":
        return data[:33] + chunk(b"eXIf", exif(tag)) + data[33:]
    if suffix == ".webp":
        height, width = image.shape[:2]
        extended = b"\x08\0\0\0" + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        body = (
            b"VP8X" + struct.pack("<I", 10) + extended + data[12:] + b"EXIF" + struct.pack("<I", 26) + exif(tag, "II")
        )
        return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body
    order, start = "<", struct.unpack("<I", data[4:8])[0]  # OpenCV writes TIFF little-endian
    count = struct.unpack(order + "H", data[start : start + 2])[0]
    entries = [data[start + 2 + 12 * k : start + 14 + 12 * k] for k in range(count)]
    entries = sorted([*entries, struct.pack("<HHIHH", 0x0112, 3, 1, tag, 0)], key=lambda e: struct.unpack("<H", e[:2]))
    directory = struct.pack("<H", count + 1) + b"".join(entries) + b"\0\0\0\0"
    return data[:4] + struct.pack("<I", len(data)) + data[8:] + directory


@pytest.mark.parametrize("tag", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".jpg"])
def test_pixels_and_points_are_turned_by_the_flag_in_every_kind_of_file(tmp_path, suffix, tag):
    """One point of the stored picture is bright: it is where `turn_points` says in the upright one, which is what a
    viewer shows (OpenCV's own turning is the witness, of a JPEG)."""
    stored = np.zeros((24, 40, 3), np.uint8)
    stored[4:12, 8:16] = 255
    stored[16:24, 24:40, 0] = 255
    (tmp_path / f"x{suffix}").write_bytes(encoded(suffix, stored, tag))
    assert image_size(tmp_path / f"x{suffix}") == Header(40, 24, tag)
    as_stored = read_image(tmp_path, f"x{suffix}")
    assert as_stored.shape == (24, 40, 3) and np.abs(as_stored.astype(int) - stored).mean() < 4
    upright = read_image(tmp_path, upright_path(f"x{suffix}"))
    witness = cv2.imdecode(np.frombuffer(encoded(".jpg", stored, tag), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert upright.shape == witness.shape and np.abs(upright.astype(int) - witness).mean() < 4
    for x, y in ((10, 8), (30, 20), (2, 2)):
        u, v = turn_points(np.array([x, y]), tag, 40, 24)
        assert (upright[v, u].astype(int) > 128).tolist() == (stored[y, x] > 128).tolist()


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", [b"Raw profile type exif", b"Raw profile type APP1"])
def test_the_flag_in_the_text_of_an_older_png_is_read(tmp_path, name, compressed):
    """ImageMagick and others wrote EXIF so before PNG had a chunk for it."""
    data = cv2.imencode(".png", np.zeros((24, 40, 3), np.uint8))[1].tobytes()
    profile = b"Exif\0\0" + exif(6, "II")
    said = b"\nexif\n%8d\n" % len(profile) + profile.hex().encode() + b"\n"
    text = chunk(b"zTXt", name + b"\0\0" + zlib.compress(said)) if compressed else chunk(b"tEXt", name + b"\0" + said)
    other = chunk(b"tEXt", b"Comment\0" + said)
    for before, tag in ((other + text, 6), (other, 1)):
        (tmp_path / "x.png").write_bytes(data[:33] + before + data[33:])
        assert image_size(tmp_path / "x.png").orientation == tag


def test_the_first_exif_of_a_jpeg_counts(tmp_path):
    data = cv2.imencode(".jpg", np.zeros((24, 40, 3), np.uint8))[1].tobytes()
    (tmp_path / "x.jpg").write_bytes(with_orientation(with_orientation(data, 1), 6))
    assert image_size(tmp_path / "x.jpg").orientation == 6


def test_an_image_that_announces_too_much_or_whose_decoder_raises_is_an_input_error(tmp_path):
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    (tmp_path / "huge.png").write_bytes(png)
    (tmp_path / "huge.gif").write_bytes(b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\0" * 20)
    (tmp_path / "huge.ppm").write_bytes(b"P6\n100000 100000\n255\n")  # no header of ours: the decoder itself raises
    for name, most in (("huge.png", images.MOST_PIXELS), ("huge.gif", images.MOST_OF_GIF)):
        with pytest.raises(InputError, match=f"{name} announces .* more than {most}"):
            read_image(tmp_path, name)
        with pytest.raises(InputError, match=f"{name} announces"):
            image_size(tmp_path / name)
    with pytest.raises(InputError, match="huge.ppm cannot be decoded"):
        read_image(tmp_path, "huge.ppm")


@pytest.mark.slow
def test_any_damaged_header_is_read_or_given_up(tmp_path):
    """Bytes changed and cut at random: a header, or none, or an InputError; no other exception."""
    rng = np.random.default_rng(0)
    for suffix in (".jpg", ".png", ".webp", ".tif"):
        good = encoded(suffix, picture(), 6)
        for _ in range(200):
            data = bytearray(good[: rng.integers(len(good))] if rng.random() < 0.3 else good)
            for _ in range(rng.integers(1, 6)):
                if data:
                    data[rng.integers(min(len(data), 200))] = rng.integers(256)
            read_header(io.BytesIO(bytes(data)))
            (tmp_path / f"x{suffix}").write_bytes(data)
            try:
                read_image(tmp_path, upright_path(f"x{suffix}"))
            except InputError as error:
                assert f"x{suffix}" in str(error)


# --- videos


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """200 frames; a white square stands at column 2 x frame number."""
    path = tmp_path_factory.mktemp("video") / "v.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 50, (448, 64))
    for k in range(200):
        frame = np.zeros((64, 448, 3), np.uint8)
        frame[16:48, 2 * k : 2 * k + 32] = 255
        writer.write(frame)
    writer.release()
    return path


def number_of(image) -> int:
    """Which frame of the fixture this is, by where its square is."""
    return round((np.flatnonzero(image[24:40].mean((0, 2)) > 128).mean() - 15.5) / 2)


@pytest.mark.parametrize(
    "order", [range(200), range(0, 200, 5), range(0, 200, 64), [199, 0, 150, 149, 150, 150, 3, 199]]
)
def test_video_frames_by_number_in_any_order(video, order):
    for k in order:
        assert number_of(read_image(video.parent, f"v.mp4#frame={k}")) == k


def test_many_videos_are_read_in_turn_with_few_open(video, tmp_path):
    for k in range(images.OPEN_VIDEOS + 3):
        (tmp_path / f"{k}.mp4").write_bytes(video.read_bytes())
    for frame in (0, 5, 10):
        for k in range(images.OPEN_VIDEOS + 3):
            assert number_of(read_image(tmp_path, f"{k}.mp4#frame={frame}")) == frame
            assert len(images._videos.readers) <= images.OPEN_VIDEOS


def test_past_the_end_missing_and_damaged_videos(video, tmp_path):
    with pytest.raises(InputError, match="v.mp4 has no readable frame 200 \\(it announces 200 frames\\)"):
        read_image(video.parent, "v.mp4#frame=200")
    assert number_of(read_image(video.parent, "v.mp4#frame=7")) == 7  # and goes on
    with pytest.raises(InputError, match="gone.mp4 does not exist"):
        read_image(tmp_path, "gone.mp4#frame=0")
    for frame, said in (
        (999_999_999, "no readable frame 999999999"),
        ("9" * 200, "does not exist"),
        ("9" * 5000, "bytes"),
    ):
        with pytest.raises(InputError, match=said):
            read_image(video.parent, f"v.mp4#frame={frame}")
    (tmp_path / "cut.mp4").write_bytes(video.read_bytes()[:300])
    with pytest.raises(InputError, match="cut.mp4 cannot be opened as a video"):
        read_image(tmp_path, "cut.mp4#frame=0")


def test_frame_names():
    assert split_frame(frame_path("S1/Videos/Eating 2.5.mp4", 12)) == ("S1/Videos/Eating 2.5.mp4", 12)
    assert split_frame("a.mp4#frame=000000000003") == ("a.mp4", 3) and split_frame("a.mp4#frame=0") == ("a.mp4", 0)
    assert split_frame("a#b.jpg") == ("a#b.jpg", None)


# --- damaged videos


def shown(reader, frames):
    """Which frame each picture shows, None where there is none."""
    found = []
    for k in frames:
        try:
            found.append(number_of(reader.read(k)))
        except InputError as error:
            assert f"no readable frame {k} " in str(error)
            found.append(None)
    return found


def test_a_broken_frame_in_the_middle_costs_itself_alone(video, tmp_path):
    data = bytearray(video.read_bytes())
    starts = [
        m.start() for m in re.finditer(b"\\x00\\x00\\x01\\xb6", bytes(data))
    ]  # where the pictures of MPEG-4 begin
    data[starts[17] : starts[18]] = bytes(starts[18] - starts[17])
    (tmp_path / "v.mp4").write_bytes(data)
    for frames in (range(40), range(0, 40, 5), range(2, 40, 5), [30, 17, 3, 18, 16], [20]):
        reader = images.VideoReader(tmp_path / "v.mp4")
        gone = [k for k, found in zip(frames, shown(reader, frames), strict=True) if found is None]
        assert gone == [k for k in frames if k == 17]


class Forgetful:
    """A capture whose decoder leaves out a frame in silence."""

    def __init__(self, capture, lost):
        self.capture, self.lost, self.next = capture, lost, 0

    def grab(self):
        if self.next == self.lost:
            self.capture.grab()
            self.next += 1
        self.next += 1
        return self.capture.grab()

    def __getattr__(self, name):
        return getattr(self.capture, name)


class ForgetfulReader(images.VideoReader):
    def _open(self):
        super()._open()
        self._capture = Forgetful(self._capture, lost=20)


def test_frames_behind_one_that_the_decoder_leaves_out_keep_their_numbers(video):
    for frames in (range(40), range(0, 40, 5)):
        reader = ForgetfulReader(video)
        assert shown(reader, frames) == [None if k == 20 else k for k in frames]


def test_pixels_without_colours_are_refused(tmp_path):
    """OpenCV decodes a grey PFM file without the colours that it is asked for."""
    (tmp_path / "a.png").write_bytes(b"Pf\n4 3\n-1.0\n" + np.ones(12, np.float32).tobytes())
    with pytest.raises(InputError, match="a.png has pixels of (uint8|float32) .3, 4.. Save it as JPEG"):
        read_image(tmp_path, "a.png")


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_pipes_and_devices_are_not_waited_for(tmp_path, kind):
    path = tmp_path / "a.jpg"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    for read in (lambda: read_image(tmp_path, "a.jpg"), lambda: image_size(path), lambda: VideoReader(path)):
        with pytest.raises(InputError, match="is a pipe or a device"):
            read()
    for load in (load_json, load_xml, load_plain_pickle):
        with pytest.raises(InputError, match="is a pipe or a device"):
            load(path)
