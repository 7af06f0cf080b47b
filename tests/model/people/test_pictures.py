"""Pictures of every kind become what people see, or a refusal that says why; of videos what is broken is told."""

import os
import re
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from model.people import photographs, pictures
from model.people.photographs import read_photograph
from model.people.pictures import find_given, read_given
from model.people.records import Picture, Refusal
from pipeline import images
from pipeline.errors import InputError
from pipeline.outputs import encode_picture, write_marked

COLOUR = (200, 60, 20)


def plain(width=40, height=30) -> np.ndarray:
    """Our colour, with a white corner at the top left."""
    image = np.full((height, width, 3), COLOUR, np.uint8)
    image[: height // 2, : width // 2] = 255
    return image


def read(*names, **more) -> list[Picture | Refusal]:
    return list(read_given(find_given([str(name) for name in names], more.get("every", 1)), **more))


def save(path: Path, image: np.ndarray, *flags: int) -> Path:
    order = {2: slice(None), 3: [2, 1, 0], 4: [2, 1, 0, 3]}.get(image.shape[-1] if image.ndim == 3 else 2)
    assert cv2.imwrite(str(path), image if image.ndim == 2 else image[..., order], flags)
    return path


def make_video(path: Path, frames=12, codec="mp4v", size=(64, 48)) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 10, size)
    for k in range(frames):
        writer.write(np.full((size[1], size[0], 3), 20 * k % 256, np.uint8))
    writer.release()
    return path


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".bmp"])
def test_kinds_of_pictures(tmp_path, suffix):
    (found,) = read(save(tmp_path / f"a{suffix}", plain()))
    assert found.pixels.shape == (30, 40, 3) and np.abs(found.pixels[25, 35].astype(int) - COLOUR).max() < 12
    assert found.camera.width == 40 and found.camera.assumed and found.frame is None


def test_16_bits_grey_one_pixel_and_transparency(tmp_path):
    deep = plain().astype(np.uint16) * 257
    assert np.abs(read_photograph(save(tmp_path / "deep.png", deep)).astype(int) - plain()).max() <= 1
    grey = read_photograph(save(tmp_path / "grey.png", plain()[..., 1]))
    assert grey.shape == (30, 40, 3) and (grey[..., 0] == grey[..., 2]).all() and grey[25, 35, 0] == 60
    assert read_photograph(save(tmp_path / "px.png", plain(1, 1))).shape == (1, 1, 3)
    clear = np.concatenate([np.zeros((30, 40, 3), np.uint8), np.zeros((30, 40, 1), np.uint8)], -1)
    clear[20:, 20:] = (*COLOUR, 255)
    clear[0, 0] = (0, 0, 0, 128)
    for suffix, flags in ((".png", ()), (".webp", (cv2.IMWRITE_WEBP_QUALITY, 101))):
        shown = read_photograph(save(tmp_path / f"clear{suffix}", clear, *flags))
        assert (
            shown[5, 5].tolist() == [255] * 3 and shown[25, 25].tolist() == list(COLOUR) and 120 < shown[0, 0, 0] < 135
        )


def test_cmyk_and_palettes(tmp_path):
    image = pytest.importorskip("PIL.Image")
    picture = image.fromarray(plain())
    picture.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    assert np.abs(read_photograph(tmp_path / "cmyk.jpg")[25, 35].astype(int) - COLOUR).max() < 25
    picture.convert("P", palette=image.Palette.ADAPTIVE).save(tmp_path / "palette.png")
    assert np.abs(read_photograph(tmp_path / "palette.png").astype(int) - plain()).max() < 4
    see_through = picture.convert("P", palette=image.Palette.ADAPTIVE)
    see_through.save(tmp_path / "hole.png", transparency=see_through.getpixel((35, 25)))
    assert (read_photograph(tmp_path / "hole.png") > 250).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_pictures_stand_upright(tmp_path, orientation, suffix):
    image = pytest.importorskip("PIL.Image")
    from PIL import ImageOps

    picture = image.fromarray(plain())
    exif = image.Exif()
    exif[0x0112] = orientation
    picture.save(tmp_path / f"a{suffix}", exif=exif.tobytes())
    with image.open(tmp_path / f"a{suffix}") as stored:
        wanted = np.asarray(ImageOps.exif_transpose(stored).convert("RGB")).astype(int)
    found = read_photograph(tmp_path / f"a{suffix}")
    assert found.shape == wanted.shape and np.abs(found - wanted).mean() < 3


def test_an_animated_gif_is_a_video_and_a_still_one_a_picture(tmp_path):
    image = pytest.importorskip("PIL.Image")
    frames = [image.fromarray(np.full((30, 40, 3), 60 * k, np.uint8)) for k in range(4)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:], duration=100)
    frames[1].save(tmp_path / "still.gif")
    found = read(tmp_path / "moving.gif")
    assert [one.frame for one in found] == [0, 1, 2, 3]
    assert [round(one.pixels.mean() / 60) for one in found] == [0, 1, 2, 3]
    (still,) = read(tmp_path / "still.gif")
    assert still.frame is None and round(still.pixels.mean()) == 60


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".bmp"])
@pytest.mark.parametrize("part", [0.5, 0.97])
def test_a_picture_that_is_cut_off_is_refused(tmp_path, suffix, part):
    noise = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8), (0, 0), 2)
    path = save(tmp_path / f"a{suffix}", noise)
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    (found,) = read(path)
    assert isinstance(found, Refusal) and f"a{suffix}: it is cut off or damaged" in found.reason


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.jpg", b"", "the file is empty"),
        ("text.jpg", b"no picture", "not an image that can be decoded"),
        ("a.jpg", b"%PDF-1.4", "it is a PDF"),
        ("a.heic", struct.pack(">I", 24) + b"ftypheic" + bytes(20), "HEIC pictures are not read. Save it as JPEG"),
        ("a.zip", b"PK\x03\x04", "it is an archive"),
        ("empty.mp4", b"", "the file is empty"),
        ("text.mp4", b"no video at all", "cannot be opened as a video.*codec.*ffmpeg"),
    ],
)
def test_files_that_are_no_pictures_are_refused_and_others_go_on(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    bad, good = read(tmp_path / name, save(tmp_path / "good.png", plain()))
    assert isinstance(bad, Refusal) and isinstance(good, Picture)
    assert name in bad.reason and re.search(said, bad.reason)


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", plain())
    monkeypatch.setattr(images, "MOST_PIXELS", 1000)
    monkeypatch.setattr(photographs, "_decoded", None)
    with pytest.raises(InputError, match="40 x 30 pixels, more than 1000"):
        read_photograph(path)
    clear = np.full((30, 40, 4), 200, np.uint16)  # eight bytes a pixel until it lies on white
    cv2.imwrite(str(tmp_path / "b.png"), clear)
    monkeypatch.setattr(images, "MOST_PIXELS", 10_000)
    monkeypatch.setattr(photographs, "MOST_TRANSPARENT", 1000)
    with pytest.raises(InputError, match="40 x 30 pixels, more than 1000"):
        read_photograph(tmp_path / "b.png")
    cv2.imwrite(str(tmp_path / "c.gif"), plain())
    monkeypatch.setattr(images, "MOST_OF_GIF", 1000)
    for reads in (read_photograph, images.image_size):
        with pytest.raises(InputError, match="40 x 30 pixels, more than 1000"):
            reads(tmp_path / "c.gif")


@pytest.mark.parametrize("name", ["a.png", "a.gif", "a", "a.mp4"])
def test_nor_is_one_under_another_name_to_see_whether_it_is_a_video(tmp_path, monkeypatch, name):
    save(tmp_path / "b.png", plain()).rename(tmp_path / name)
    monkeypatch.setattr(images, "MOST_PIXELS", 1000)
    monkeypatch.setattr(cv2, "VideoCapture", None)
    (found,) = read(tmp_path / name)
    end = "announces 40 x 30 pixels, more than 1000 in all. It is damaged, or must be made smaller first."
    said = f"The image {tmp_path / name} {end}"
    assert isinstance(found, Refusal) and found.reason == said


def test_folders_patterns_and_what_this_program_wrote(tmp_path):
    for name in ("b.png", "a.JPG", "c.webp"):
        save(tmp_path / name, plain())
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "deeper").mkdir()
    save(tmp_path / "deeper" / "d.png", plain())
    write_marked(tmp_path / "a.people.png", encode_picture(plain()))
    save(tmp_path / "my.people.png", plain())  # somebody's own
    names = [Path(one.name).name for one in find_given([str(tmp_path)])]
    assert names == ["a.JPG", "b.png", "c.webp", "my.people.png"]
    assert [Path(one.name).name for one in find_given([f"{tmp_path}/**/*.png"])] == ["b.png", "d.png", "my.people.png"]
    assert len(find_given([str(tmp_path), str(tmp_path / "b.png")])) == 4  # nothing twice


def test_names_that_mean_nothing_are_refused(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "best.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="holds a run and no pictures. Name it with --run"):
        find_given([str(tmp_path / "run"), "a.jpg"])
    (tmp_path / "none").mkdir()
    found = read(tmp_path / "none", tmp_path / "no.jpg", f"{tmp_path}/*.jpg", tmp_path / f"{'9' * 300}.jpg")
    said = [one.reason for one in found]
    assert "no picture or video lies in" in said[0] and "there is no such file" in said[1] and "no file has" in said[2]
    assert "there is no such file" in said[3]
    with pytest.raises(InputError, match="no picture is given"):
        find_given([])


def test_a_link_to_a_file_that_is_gone_is_told(tmp_path):
    save(tmp_path / "a.png", plain())
    (tmp_path / "b.png").symlink_to(tmp_path / "moved.png")
    for name in (tmp_path, f"{tmp_path}/*.png"):
        found, gone = read(name)
        assert isinstance(found, Picture) and "b.png: it is a link to a file that is not there" in gone.reason


def test_a_webcam_is_a_number_and_one_that_is_not_there_is_refused(monkeypatch):
    class Webcam:
        left = 6

        def __init__(self, index):
            self.there = index == 0

        def isOpened(self):
            return self.there

        def grab(self):
            self.left -= 1
            return self.left >= 0

        def retrieve(self):
            whole = self.left != 3  # the camera garbles one
            return whole, np.full((30, 40, 3), (20, 60, 200), np.uint8) if whole else None

        def release(self):
            pass

    monkeypatch.setattr(pictures.cv2, "VideoCapture", Webcam)
    found = read("0", every=2)
    assert [one.frame for one in found] == [0, 4] and found[0].pixels[0, 0].tolist() == [200, 60, 20]
    (refused,) = read("7")
    assert "no webcam 7" in refused.reason


def test_a_video_gives_frames_with_their_times(tmp_path):
    path = make_video(tmp_path / "v.mp4")
    found = read(path, every=5)
    assert [one.frame for one in found] == [0, 5, 10] and [one.name for one in found][1] == f"{path}#frame=5"
    assert [one.time_s for one in found] == pytest.approx([0, 0.5, 1.0])
    assert [round(one.pixels.mean() / 20) for one in found] == [0, 5, 10]
    assert find_given([str(path)], 5)[0].pictures == 3


def test_a_name_that_says_nothing_is_looked_into_and_a_pipe_is_not(tmp_path):
    make_video(tmp_path / "v.mp4").rename(tmp_path / "film")
    save(tmp_path / "a.png", plain()).rename(tmp_path / "picture")
    os.mkfifo(tmp_path / "pipe.jpg")
    kinds = [one.kind for one in find_given([str(tmp_path / name) for name in ("film", "picture", "pipe.jpg")])]
    assert kinds == ["video", "picture", "nothing"]
    assert read(tmp_path / "picture")[0].pixels.shape == (30, 40, 3)


def test_a_broken_frame_in_the_middle_is_told_and_the_others_come(tmp_path, monkeypatch):
    path = make_video(tmp_path / "v.avi", codec="MJPG")
    data = bytearray(path.read_bytes())
    starts = [k for k in range(len(data)) if data[k : k + 4] == b"00dc" and data[k + 8 : k + 10] == b"\xff\xd8"]
    assert len(starts) >= 12
    for k in (5, 6):
        data[starts[k] + 8 : starts[k + 1]] = bytes(starts[k + 1] - starts[k] - 8)
    path.write_bytes(data)
    found = read(path)
    refused = [one for one in found if isinstance(one, Refusal)]
    shown = [one.frame for one in found if isinstance(one, Picture)]
    assert shown == [0, 1, 2, 3, 4, 7, 8, 9, 10, 11]
    assert len(refused) == 1 and "frames 5 to 6 of 12 cannot be decoded" in refused[0].reason


def test_a_video_that_is_cut_off_gives_what_is_there(tmp_path):
    path = make_video(tmp_path / "v.avi", codec="MJPG", frames=12, size=(320, 240))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found = read(path)
    assert [one.frame for one in found[:2]] == [0, 1]
    assert isinstance(found[-1], Refusal) and "of 12 cannot be decoded. The video is cut off there" in found[-1].reason


def test_a_video_without_frames_is_refused(tmp_path):
    path = make_video(tmp_path / "v.avi", codec="MJPG", frames=0)
    (found,) = read(path)
    assert isinstance(found, Refusal) and "v.avi" in found.reason


def test_a_codec_that_is_missing_is_said(tmp_path):
    """The file announces a codec that nobody has."""
    path = make_video(tmp_path / "v.avi", codec="MJPG")
    path.write_bytes(path.read_bytes().replace(b"MJPG", b"ZZZZ").replace(b"mjpg", b"ZZZZ"))
    (found,) = read(path)
    assert isinstance(found, Refusal) and "codec is not known here" in found.reason


def test_a_tiff_of_floats_is_refused_by_its_kind(tmp_path):
    assert cv2.imwrite(str(tmp_path / "a.tif"), plain().astype(np.float32) / 255)
    (found,) = read(tmp_path / "a.tif")
    assert "floating point numbers for example" in found.reason and "save it as JPEG or PNG" in found.reason


def test_a_focal_length_of_no_lens_refuses_the_picture(tmp_path):
    (found,) = read(save(tmp_path / "a.png", plain()), focal=1e9)
    assert "a.png: --focal" in found.reason
