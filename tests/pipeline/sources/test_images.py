"""Images and video frames by path."""

import cv2
import numpy as np
import pytest

from pipeline import images
from pipeline.errors import InputError
from pipeline.images import frame_path, image_size, read_image, resolve, split_frame


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
    assert image_size(tmp_path / "b.jpg") == (30, 20, 6)


def test_grey_and_transparent_images_become_rgb(tmp_path):
    cv2.imwrite(str(tmp_path / "grey.jpg"), np.full((8, 9), 70, np.uint8))
    cv2.imwrite(str(tmp_path / "clear.png"), np.full((8, 9, 4), 70, np.uint8))
    assert read_image(tmp_path, "grey.jpg").shape == read_image(tmp_path, "clear.png").shape == (8, 9, 3)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp"])
def test_size_from_the_header_is_the_decoded_size(tmp_path, suffix):
    cv2.imwrite(str(tmp_path / f"x{suffix}"), picture(53, 31))
    assert image_size(tmp_path / f"x{suffix}") == (53, 31, 1)


@pytest.mark.parametrize("path", ["../x.jpg", "a/../../x.jpg", "/etc/passwd", "", "a\\..\\x.jpg", "a\0.jpg"])
def test_a_path_that_climbs_out_is_refused(tmp_path, path):
    with pytest.raises(InputError, match="leads out of the dataset's folder"):
        resolve(tmp_path, path)
    with pytest.raises(InputError, match="leads out"):
        read_image(tmp_path, path + "#frame=3" if path else path)


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
            assert len(images._readers) <= images.OPEN_VIDEOS


def test_past_the_end_missing_and_damaged_videos(video, tmp_path):
    with pytest.raises(InputError, match="v.mp4 has no readable frame 200 \\(it announces 200 frames\\)"):
        read_image(video.parent, "v.mp4#frame=200")
    assert number_of(read_image(video.parent, "v.mp4#frame=7")) == 7  # and goes on
    with pytest.raises(InputError, match="gone.mp4 does not exist"):
        read_image(tmp_path, "gone.mp4#frame=0")
    (tmp_path / "cut.mp4").write_bytes(video.read_bytes()[:300])
    with pytest.raises(InputError, match="cut.mp4 cannot be opened as a video"):
        read_image(tmp_path, "cut.mp4#frame=0")


def test_frame_names():
    assert split_frame(frame_path("S1/Videos/Eating 2.5.mp4", 12)) == ("S1/Videos/Eating 2.5.mp4", 12)
    assert split_frame("a#b.jpg") == ("a#b.jpg", None)
