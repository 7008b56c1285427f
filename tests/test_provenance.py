"""What every video carries: the invisible mark, content credentials, the visible label, and the reading back."""

import dataclasses
import hashlib
import json
import stat

import numpy as np
import pytest
from PIL import Image

from pipeline import credentials, provenance, signing, watermark
from pipeline.animation import View, animate
from pipeline.media import VideoReader, VideoWriter
from pipeline.types import PipelineError
from pipeline.visible_label import VisibleLabel

SIZE = (432, 768)
SOURCE = hashlib.sha256(b"a photo").hexdigest()


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    """A cache and a signing key of the tests' own; the body in the real cache is not needed twice."""
    import os

    from pipeline.body.cache import cache_dir

    real, own = cache_dir(), tmp_path_factory.mktemp("cache")
    for path in real.glob("*.npz"):
        (own / path.name).symlink_to(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "ONESHOT_CACHE", str(own))
        for name in (signing.KEY_VARIABLE, signing.CERTIFICATE_VARIABLE, provenance.MARK_KEY_VARIABLE):
            patch.delenv(name, raising=False)
        yield own


@pytest.fixture(scope="module")
def frames(astronaut):
    """8 frames of 432 x 768: a still picture of which a third moves, as in a video with its camera at rest."""
    import cv2

    big = cv2.resize((astronaut * 255).astype(np.uint8), (840, 840), interpolation=cv2.INTER_CUBIC)
    out = [big[30:798, 150:582].copy() for _ in range(8)]
    for i, frame in enumerate(out):
        frame[60:450, 90:360] = big[90 + i : 480 + i, 240 + i // 2 : 510 + i // 2]
    return out


def written(path, frames, **options):
    with VideoWriter(path, 12, SIZE, **options) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def found_in(path, key=watermark.PUBLIC_KEY):
    with VideoReader(path) as reader:
        return watermark.detect(reader, key)


@pytest.fixture(scope="module")
def marked_video(frames, tmp_path_factory):
    """Marked with the number 4660 and signed, with a consent on record."""
    meta = {"source_sha256": "1234" + SOURCE[4:], "consent": provenance.Consent.state("own").to_json()}
    stamp = provenance.Stamp.of(meta, SIZE)
    path = tmp_path_factory.mktemp("marked") / "o.mp4"
    return written(path, [stamp.mark(f) for f in frames], seal=stamp.seal)


def test_mark_is_invisible_and_leaves_the_frame_alone(frames):
    before = frames[0].copy()
    marked = watermark.Marker(b"k", 7, SIZE).mark(frames[0])
    assert np.array_equal(frames[0], before) and marked.shape == before.shape
    difference = marked.astype(int) - before
    assert np.abs(difference).mean() > 0.3 and np.abs(difference).max() <= 8
    assert 10 * np.log10(255**2 / np.mean(difference**2.0)) > 42
    plain = np.full((768, 432, 3), 200, np.uint8)
    assert np.abs(watermark.Marker(b"k", 7, SIZE).mark(plain).astype(int) - 200).max() <= 3


def test_mark_is_read_from_the_video_with_its_key_only(marked_video):
    found = found_in(marked_video)
    assert found.found and found.payload == 0x1234 and found.score > 1.5 * found.threshold and found.p_value < 1e-20
    assert found.scale == pytest.approx(1, abs=0.002) and not found.mirrored
    other = found_in(marked_video, b"another key")
    assert not other.found and other.payload is None and other.p_value > 1e-6


@pytest.mark.parametrize(
    ("arguments", "scale"),
    [(("-crf", "28"), 1.0), (("-vf", "hflip,crop=iw*0.9:ih*0.9,scale=290:-2", "-crf", "23"), 0.75)],
)
def test_mark_survives(marked_video, tmp_path, arguments, scale):
    from pipeline.watermark_bench import treat

    found = found_in(treat(marked_video, arguments, tmp_path / "t.mp4"))
    assert found.found and found.payload == 0x1234 and found.scale == pytest.approx(scale, abs=0.012)
    assert found.mirrored == (scale < 1)


def test_unmarked_is_not_found(frames):
    from pipeline.watermark_bench import textures

    rng = np.random.default_rng(3)
    for clip in (frames, *(clip for _, clip in textures(2, rng))):
        found = watermark.detect(clip[:4], watermark.PUBLIC_KEY)
        assert not found.found and found.p_value > 1e-4 and found.payload is None


def test_p_value_is_an_upper_bound():
    """Random phases in place of a video: the share of high scores at one place stays below exp(-t^2 / M)."""
    phases = np.random.default_rng(0).uniform(0, 2 * np.pi, (20_000, 100))
    sums = np.cos(phases).sum(1)
    for t in (10.0, 15.0, 20.0):
        assert (sums >= t).mean() <= np.exp(-(t**2) / 100)


def test_transparent_frames_keep_alpha(frames):
    rgba = np.dstack([frames[0], np.zeros(frames[0].shape[:2], np.uint8)])
    rgba[100:400, 50:200, 3] = 255
    marked = watermark.Marker(b"k", 7, SIZE).mark(rgba)
    assert np.array_equal(marked[..., 3], rgba[..., 3])
    assert np.array_equal(marked[:100], rgba[:100]) and not np.array_equal(marked[100:400], rgba[100:400])


def test_refusals_of_the_mark(frames):
    with pytest.raises(ValueError, match="payload"):
        watermark.Marker(b"k", 1 << 16, SIZE)
    with pytest.raises(ValueError, match="no frames"):
        watermark.detect([], b"k")
    with pytest.raises(ValueError, match="sizes"):
        watermark.detect([frames[0], frames[0][:-2]], b"k")


def test_label_is_legible_on_any_ground():
    for level in (0, 128, 255):
        frame = np.full((768, 432, 3), level, np.uint8)
        drawn = VisibleLabel(SIZE).draw(frame)
        changed = (drawn != level).any(-1)
        rows, columns = np.nonzero(changed)
        assert (rows > 384).all() and (columns > 108).all() and 0.005 < changed.mean() < 0.1
        badge = drawn[rows.min() + 6 : rows.max() - 6, columns.min() + 6 : columns.max() - 6, 0] / 255
        light, dark = (np.percentile(badge, p) ** 2.2 for p in (99.5, 20))
        assert (light + 0.05) / (dark + 0.05) > 7
    empty = VisibleLabel((64, 64)).draw(np.zeros((64, 64, 4), np.uint8))
    assert empty[..., 3].max() > 240 and empty[:20].max() == 0


def test_credentials_say_what_it_is(marked_video):
    found = credentials.read(marked_video)
    assert found.state == "this machine" and found.place == "embedded" and found.intact
    assert found.source_type == "compositeWithTrainedAlgorithmicMedia" and "self-signed" in found.signer
    assert found.statement["consent"]["basis"] == "own" and found.statement["watermark"]["id"] == "1234"
    assert found.statement["motion"] == "none" and found.software.startswith(provenance.SOFTWARE)
    raw = marked_video.read_bytes()
    assert raw.find(b"moov") < raw.find(b"mdat"), "the index is no longer in front"


def test_credentials_are_read_by_the_c2pa_library_alone(marked_video):
    """Independent of our reader: the JUMBF box is in the file, and the library's plain reader finds it valid."""
    import c2pa

    assert b"jumb" in marked_video.read_bytes() and b"c2pa.signature" in marked_video.read_bytes()
    with c2pa.Reader(str(marked_video)) as reader:
        assert reader.get_validation_state() == "Valid"
        codes = {entry["code"] for entry in json.loads(reader.json())["validation_status"]}
    assert codes == {"signingCredential.untrusted"}


def test_one_changed_byte_shows(marked_video, tmp_path):
    data = bytearray(marked_video.read_bytes())
    for place in (data.find(b"mdat") + 500, data.find(b"own photo") if b"own photo" in data else data.find(b"1234")):
        changed = bytearray(data)
        changed[place] ^= 1
        path = tmp_path / "changed.mp4"
        path.write_bytes(changed)
        found = credentials.read(path)
        assert found.state == "altered" and found.problems and not found.intact


def test_another_machine_does_not_vouch_but_a_given_root_does(marked_video, cache, monkeypatch, tmp_path):
    root = signing.own_root()
    monkeypatch.setenv("ONESHOT_CACHE", str(tmp_path))
    assert credentials.read(marked_video).state == "unknown signer"
    assert credentials.read(marked_video, root).state == "trusted"


def test_own_key_is_private_kept_and_replaced_when_damaged(cache):
    signing.identity()
    path = cache / "credentials" / "signer.pem"
    first = path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and signing.identity().chain in first
    path.write_bytes(first[:300])
    try:
        assert signing.identity().own and path.read_bytes() != first
    finally:
        path.write_bytes(first)


def test_users_key_and_certificate(frames, cache, monkeypatch, tmp_path):
    pem = signing._make_identity()
    mark = b"-----BEGIN CERTIFICATE-----"
    key, _, chain = pem.partition(mark)
    monkeypatch.setenv(signing.KEY_VARIABLE, key.decode())
    with pytest.raises(PipelineError, match="both"):
        signing.identity()
    (tmp_path / "chain.pem").write_bytes(mark + chain)
    monkeypatch.setenv(signing.CERTIFICATE_VARIABLE, str(tmp_path / "chain.pem"))
    stamp = provenance.Stamp.of({}, SIZE)
    path = written(tmp_path / "o.mp4", frames[:2], seal=stamp.seal)
    assert credentials.read(path).state == "unknown signer" and not signing.identity().own
    monkeypatch.setenv(signing.KEY_VARIABLE, signing._make_identity().decode())
    with pytest.raises(PipelineError, match="does not belong"):
        written(tmp_path / "p.mp4", frames[:2], seal=stamp.seal)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["chain.pem", "o.mp4"], "something half-written stayed"
    monkeypatch.setenv(signing.KEY_VARIABLE, "/no/such/file")
    with pytest.raises(PipelineError, match="PEM"):
        signing.identity()


@pytest.mark.parametrize("name", ["o.webm", "frames"])
def test_sidecars(frames, tmp_path, name):
    stamp = provenance.Stamp.of({"source_sha256": SOURCE}, SIZE)
    for _ in range(2):  # the second replaces the first
        path = written(tmp_path / name, [stamp.mark(f) for f in frames[:2]], seal=stamp.seal)
    found = credentials.read(path)
    assert found.state == "this machine" and found.place == "sidecar"
    if path.is_dir():
        assert sorted(p.name for p in path.iterdir())[:2] == ["SHA256SUMS", "SHA256SUMS.c2pa"]
        (path / "frame_00001.png").write_bytes(b"other")
    else:
        assert sorted(p.name for p in tmp_path.iterdir()) == ["o.webm", "o.webm.c2pa"]
        path.write_bytes(path.read_bytes() + b"x")
    assert credentials.read(path).state == "altered"


def test_animate_marks_signs_and_labels(doll, tmp_path):
    from pipeline.motion import get_motion

    motion = get_motion("explaining")
    arrays = {k: v[:15] for k, v in vars(motion).items() if isinstance(v, np.ndarray)}
    who = doll.replace(meta={"source_sha256": SOURCE, "consent": provenance.Consent.state("permission").to_json()})
    view = View(size=SIZE, fps=12, background="#808080")
    plain = animate(who, motion.replace(**arrays), tmp_path / "a.mp4", view=view).path
    labelled = dataclasses.replace(view, label=True)
    other = animate(who, motion.replace(**arrays), tmp_path / "b.mp4", view=labelled).path
    found = found_in(plain)
    assert found.found and found.payload == int(SOURCE[:4], 16)
    said = credentials.read(plain).statement
    assert said["motion"] == "explaining" and said["consent"]["basis"] == "permission" and not said["visible_label"]
    assert credentials.read(other).statement["visible_label"]
    with VideoReader(plain) as a, VideoReader(other) as b:
        difference = np.abs(next(iter(a)).astype(int) - next(iter(b))).max(-1)
    assert difference[700:, 250:].max() > 100 and difference[:600].max() < 60


def test_motion_names_do_not_give_people_away():
    from pipeline.motion import get_motion

    motion = get_motion("explaining")
    own = motion.replace(meta={**motion.meta, "name": "jane doe at work"})
    assert provenance.motion_name(motion) == "explaining" and provenance.motion_name(own) == "the user's own"


def test_consent_must_be_stated():
    for nothing in (None, "", "not-stated"):
        with pytest.raises(PipelineError, match="say first"):
            provenance.require_consent(nothing)
    with pytest.raises(PipelineError, match="not known"):
        provenance.require_consent("of course")
    assert provenance.require_consent("own").basis == "own"
    assert provenance.Consent.state(None).to_json()["statement"] == "Nothing was stated."


def test_remuxing_removes_credentials_but_not_the_mark(marked_video, tmp_path):
    """What the documentation says about losing them."""
    import subprocess

    from pipeline.video import ffmpeg_path

    copy = tmp_path / "copy.mp4"
    subprocess.run([ffmpeg_path(), "-v", "error", "-i", str(marked_video), "-c", "copy", str(copy)], check=True)
    assert credentials.read(copy).state == "none" and found_in(copy).found


def test_verify_command(marked_video, frames, tmp_path, capsys, cache):
    from pipeline.__main__ import main

    assert main(["verify", str(marked_video)]) == 0
    words = capsys.readouterr().out
    assert "vouches for nobody" in words and "number 1234" in words and "public key" in words and "photo of me" in words
    (tmp_path / "root.pem").write_bytes(signing.own_root())
    assert main(["verify", str(marked_video), "--trust", str(tmp_path / "root.pem"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["verdict"] == "marked" and told["credentials"]["state"] == "trusted" and told["watermark"]["found"]
    still = tmp_path / "still.png"
    Image.fromarray(frames[0]).save(still)
    assert main(["verify", str(still)]) == 3
    assert "not show that the video is a real recording" in capsys.readouterr().out
    changed = bytearray(marked_video.read_bytes())
    changed[changed.find(b"1234")] ^= 1
    (tmp_path / "changed.mp4").write_bytes(changed)
    assert main(["verify", str(tmp_path / "changed.mp4"), "--json"]) == 4
    assert json.loads(capsys.readouterr().out)["verdict"] == "altered"


def test_verify_refuses_what_it_cannot_read(marked_video, tmp_path, capsys):
    from pipeline.__main__ import main

    (tmp_path / "text.mp4").write_text("hello")
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "empty").mkdir()
    for wrong in ("text.mp4", "text.png", "empty", "missing.mp4"):
        assert main(["verify", str(tmp_path / wrong)]) == 1
        assert capsys.readouterr().err.startswith("error: ")
    assert main(["verify", str(marked_video), "--trust", str(tmp_path / "text.png")]) == 1
    assert "certificate" in capsys.readouterr().err


def test_credentials_of_another_video_contradict(marked_video, frames):
    from pipeline.verify import ALTERED, Verdict

    marker = watermark.Marker(watermark.PUBLIC_KEY, 0x4321, SIZE)
    found = watermark.detect([marker.mark(f) for f in frames[:3]], watermark.PUBLIC_KEY)
    verdict = Verdict(marked_video, credentials.read(marked_video), found, True)
    assert verdict.mark_id == "4321" and verdict.contradiction and verdict.code == ALTERED
