"""Parts of the capture: the posing of true bodies, joint limits, self-penetration, clothes and rays."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import ConvexHull
from scipy.spatial.transform import Rotation

from pipeline.body.model import load_body
from pipeline.camera import project, world_to_camera
from pipeline.records import BodyParameters
from pipeline.skeletons import SMPLX_55
from pipeline.sources.synthetic import (
    appearance,
    furniture,
    motion,
    people,
    poses,
    render,
    repertoire,
    scenery,
    sequences,
)
from pipeline.sources.synthetic.complexion import draw_complexion, skin_colours
from pipeline.sources.synthetic.settings import ACTIONS, SPLIT_OF, SUBJECTS, CaptureSettings
from pipeline.sources.synthetic.truth import POSE_PARTS
from pipeline.sources.synthetic.wild import film
from pipeline.sources.synthetic.wild.settings import WildSettings

SETTINGS = CaptureSettings(seed=1, instants=8, image_px=192)


@pytest.fixture(scope="module")
def body():
    return load_body()


@pytest.fixture(scope="module")
def studio(body):
    return sequences.open_studio(people.make_rig(body), SETTINGS)


def move(studio, action, frames, held_out=False, subject=1, seed=0):
    person = studio.persons[subject]
    return motion.make_motion(
        studio.rig, person, studio.bank, np.random.default_rng(seed), action, frames, held_out, 0.02
    )


def test_posing_equals_smplx(studio, body):
    person = people.shape_person(studio.rig, np.linspace(-1.5, 1.5, 10), np.zeros_like(studio.rig.template))
    moving = motion.make_motion(studio.rig, person, studio.bank, np.random.default_rng(2), "Posing", 40, False, 0.02)
    vectors = motion.parameters(moving, person, np.array([17]))
    vertices, joints = body.mesh(BodyParameters(**{name: values[0] for name, values in vectors.items()}))
    np.testing.assert_allclose(people.skin(studio.rig, person, person.rest, moving, 17), vertices, atol=1e-5)
    np.testing.assert_allclose(moving.places[17], joints, atol=1e-5)
    assert set(POSE_PARTS) < set(vectors)


def test_people_are_not_in_the_span_of_ten_betas(studio):
    directions = studio.rig.shapedirs.reshape(-1, 10)
    other = people.make_people(replace(studio.rig, people_betas=None), (1, 0), 1.0, 0.008)
    assert set(other) == set(studio.persons) == set(SPLIT_OF)
    for person in (*studio.persons.values(), *other.values()):
        target = (person.rest - studio.rig.template).ravel()
        best = directions @ np.linalg.lstsq(directions, target, rcond=None)[0]
        assert 0.001 < np.linalg.norm((target - best).reshape(-1, 3), axis=1).mean() < 0.015
    assert len({person.rest.tobytes() for person in studio.persons.values()}) == len(SPLIT_OF)


def test_no_test_subject_has_a_body_that_is_trained_on(studio, body):
    def shapes(persons):
        return {person.betas.tobytes() for person in persons}

    trained = shapes(film.open_studio(body, WildSettings()).persons)
    assert len(trained) == len(studio.rig.people_betas) - people.HELD_OUT
    for seed in range(4):
        persons = people.make_people(studio.rig, (seed, 0), 1.0, 0.008)
        judged = shapes(persons[s] for s in (*SUBJECTS["validation"], *SUBJECTS["test"]))
        assert len(judged) == 3 and not judged & trained and not judged & shapes(persons[s] for s in SUBJECTS["train"])
    # The default seed's subjects are those that they were before any were held out.
    order = np.random.default_rng((0, 0)).permutation(len(studio.rig.people_betas))
    persons = people.make_people(studio.rig, (0, 0), 1.0, 0.008)
    assert [p.betas.tobytes() for p in persons.values()] == [studio.rig.people_betas[k].tobytes() for k in order[:7]]


def test_every_action_keeps_the_limits_and_stays_out_of_itself(studio):
    person = people.make_people(studio.rig, (0, 0), 1.0, 0.008)[7]
    for k, action in enumerate(ACTIONS):
        rng = np.random.default_rng(k)
        angles = motion.draw_angles(studio.rig, person, studio.bank, rng, action, 120, k % 2 == 1, 0.02)
        assert (angles >= poses.LOW).all() and (angles <= poses.HIGH).all()
        turned, places = people.chain(studio.rig, person, poses.pose_rotations(angles), np.zeros((120, 3)))
        assert people.penetration(person, places, turned).max() < 0.03, action


def test_poses_of_an_action_differ(studio):
    samples = np.stack(
        [repertoire.sample_pose(np.random.default_rng(k), studio.bank, "Posing", False) for k in range(50)]
    )
    assert (
        samples.std(0)[[poses.INDEX["left_elbow"], poses.INDEX["right_spread"], poses.INDEX["left_knee"]]].min() > 0.2
    )


def test_left_and_right_mean_the_same(studio):
    """A pose with its sides swapped is the mirror image: x changes its sign."""
    pose = repertoire.sample_pose(np.random.default_rng(5), studio.bank, "Posing", False)
    swapped = {
        name: name.replace("left", "RIGHT").replace("right", "left").replace("RIGHT", "right") for name in poses.NAMES
    }
    other = np.array([pose[poses.INDEX[swapped[name]]] for name in poses.NAMES])
    for name in ("roll", "side", "turn", "neck_side", "neck_turn"):
        other[poses.INDEX[name]] *= -1
    mirror = np.diag([-1.0, 1, 1])
    rotations, mirrored = poses.pose_rotations(np.stack([pose, other]))
    names = people.SMPLX_55.names
    swap = [
        names.index(swapped_name)
        for swapped_name in (
            name.replace("left", "RIGHT").replace("right", "left").replace("RIGHT", "right") for name in names
        )
    ]
    np.testing.assert_allclose(mirrored[swap], mirror @ rotations @ mirror, atol=1e-12)


def test_penetration_sees_a_hand_in_the_chest(studio):
    person = studio.persons[1]
    pose = poses.neutral_pose()
    inside = pose.copy()
    inside[[poses.INDEX[f"left_{name}"] for name in repertoire.ARM_ANGLES]] = (1.4, -1.4, 1.3, 2.2)
    turned, places = people.chain(studio.rig, person, poses.pose_rotations(np.stack([pose, inside])), np.zeros((2, 3)))
    free, deep = people.penetration(person, places, turned)
    assert free < 0.01 and deep > 0.03


def test_segment_distance_equals_a_dense_search():
    rng = np.random.default_rng(0)
    a, b, c, d = rng.normal(size=(4, 200, 3))
    s = np.linspace(0, 1, 101)
    first = a[:, None] + (b - a)[:, None] * s[:, None]
    second = c[:, None] + (d - c)[:, None] * s[:, None]
    dense = np.linalg.norm(first[:, :, None] - second[:, None], axis=-1).min((1, 2))
    found = people.segment_distance(a, b, c, d)
    assert (found <= dense + 1e-9).all() and np.abs(found - dense).max() < 0.03


def test_feet_stand_on_the_floor(studio):
    moving = move(studio, "Walking", 150)
    lowest = [
        people.skin(studio.rig, studio.persons[1], studio.persons[1].rest, moving, k)[:, 2].min()
        for k in range(0, 150, 15)
    ]
    assert np.abs(lowest).max() < 0.08


def test_the_first_choice_of_a_seat_is_the_same_all_through_a_sequence(studio, monkeypatch):
    sitting, walking = move(studio, "Sitting", 150), move(studio, "Walking", 150)
    plan, frames = sequences.SequencePlan(1, "Sitting", 1, 6, 25), range(0, 150, 15)
    all_tried = [sequences._seat(studio, plan, sitting, frame) for frame in frames]
    monkeypatch.setattr(furniture, "_WITHOUT_BACK", ())
    first = [sequences._seat(studio, plan, sitting, frame) for frame in frames]
    found = [seat for seat in first if seat is not None]
    assert len(found) >= 4 and len({len(seat.thing.cuboids) for seat in found}) == 1
    assert sum(seat is not None for seat in all_tried) > len(found)
    colours = [seat.mesh.paint(np.array([[0.1, 0.1, 0.1, 1.0]], np.float32)) for seat in all_tried if seat is not None]
    assert all(np.array_equal(colour, colours[0]) for colour in colours)
    assert all(sequences._seat(studio, plan, walking, frame) is None for frame in frames)


@pytest.fixture(scope="module")
def filmed(studio):
    """A dressed and a naked picture of one moment, with what they were made from."""
    moving = move(studio, "Greeting", 30)
    person, camera = studio.persons[1], studio.cameras[1][0]
    outfit = appearance.draw_outfit(np.random.default_rng(3), studio.tailor.marks)
    offsets = appearance.clothe(
        outfit,
        studio.tailor.marks,
        studio.rig.template,
        studio.tailor.normals,
        np.random.default_rng(4),
        SETTINGS.garment_m,
    )
    setting = scenery.draw_setting(np.random.default_rng(5), SETTINGS.looks, SETTINGS.seed, "train")
    backdrop = scenery.draw_backdrop(setting, camera, np.random.default_rng(6), None, SETTINGS.looks)
    covers = []

    def painter(_faces, places):
        return appearance.paint(outfit, studio.tailor.marks, places)

    for rest in (person.rest, person.rest + offsets):
        vertices = people.skin(studio.rig, person, rest, moving, 12)
        scene = render.make_scene(vertices, studio.rig.faces, studio.rig.template.astype(np.float32))
        image, cover = render.draw_view(scene, camera, painter, setting.light, backdrop, 2, np.random.default_rng(7))
        covers.append(cover)
    generator = np.random.default_rng(7)
    parted, _ = render.draw_view(scene, camera, painter, setting.light, backdrop, 2, generator, [scene] * 3)
    joints = people.field_joints(studio.rig, person, moving)[12]
    return {
        "camera": camera,
        "joints": joints,
        "image": image,
        "of several exposures": parted,
        "naked": covers[0],
        "dressed": covers[1],
        "offsets": offsets,
        "scene": scene,
        "outfit": outfit,
    }


def test_a_picture_of_several_exposures_that_are_the_same_is_that_of_one(filmed):
    apart = np.abs(filmed["image"].astype(int) - filmed["of several exposures"])
    assert apart.max() <= 1 and (apart > 0).mean() < 0.01


def test_joints_fall_on_the_person(filmed):
    pixels = project(filmed["camera"], world_to_camera(filmed["camera"], filmed["joints"])).round().astype(int)
    assert (filmed["naked"][pixels[:, 1], pixels[:, 0]] > 0.5).mean() > 0.9


def test_clothes_stand_off_the_naked_body(filmed):
    naked, dressed = filmed["naked"], filmed["dressed"]
    assert 1.03 < dressed.sum() / naked.sum() < 1.6
    assert ((naked > 0.9) & (dressed < 0.5)).sum() < 0.01 * naked.sum()
    lengths = np.linalg.norm(filmed["offsets"], axis=1)
    low, high = SETTINGS.garment_m
    assert lengths.max() <= high + 1e-9 and (lengths > low).mean() > 0.2 and (lengths == 0).any()


def test_blocks_skip_no_pixel_of_the_person(filmed):
    """The slow twin: a ray through every pixel of the image."""
    scene, camera = filmed["scene"], filmed["camera"]
    jj, ii = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    rays = np.stack(
        [(jj - camera.K[0, 2]) / camera.K[0, 0], (ii - camera.K[1, 2]) / camera.K[1, 1], np.ones(jj.shape)], -1
    )
    rays = (rays.reshape(-1, 3) @ camera.R).astype(np.float32)
    origins = np.tile((-camera.R.T @ camera.t).astype(np.float32), (len(rays), 1))
    hit = scene.rays.run(origins, rays).reshape(jj.shape) >= 0
    chosen = np.zeros(hit.shape, bool)
    pixels = render.candidate_pixels(scene, camera)
    chosen[pixels[:, 1], pixels[:, 0]] = True
    assert not (hit & ~chosen).any() and hit.sum() > 500


def test_a_head_has_a_front(studio):
    outfit = appearance.draw_outfit(np.random.default_rng(0), studio.tailor.marks)
    marks = studio.tailor.marks
    skull = studio.rig.template[studio.rig.template[:, 1] > marks.nose[1] - 0.08]
    front = skull[:, 2] > marks.head[2] + 0.04
    colours = appearance.paint(outfit, marks, skull)
    assert np.abs(colours[front].mean(0) - colours[~front].mean(0)).max() > 0.05
    assert len(np.unique(colours[front].round(3), axis=0)) >= 5  # skin, sockets, whites, pupils, brows or lips


def test_rooms_of_the_splits_are_different():
    firsts = {
        split: {scenery.pool_generator(0, split, k).integers(2**62) for k in range(scenery.POOL_SIZE[split])}
        for split in SUBJECTS
    }
    assert sum(map(len, firsts.values())) == sum(scenery.POOL_SIZE.values()) == len(set.union(*firsts.values()))


def test_cameras_look_at_the_middle_and_one_is_held_out(studio):
    for subject, cameras in studio.cameras.items():
        heights = [(-camera.R.T @ camera.t)[2] for camera in cameras]
        for camera in cameras:
            np.testing.assert_allclose(camera.R @ camera.R.T, np.eye(3), atol=1e-12)
            assert np.linalg.det(camera.R) > 0
            x, y = project(camera, world_to_camera(camera, np.array([0.0, 0, 0.9])))
            assert 0 < x < SETTINGS.image_px and 0 < y < SETTINGS.image_px
        assert (max(heights) > 2.3) == (SPLIT_OF[subject] == "test")


def test_shares_add_up():
    for instants in (7, 8, 100, 1500):
        settings = CaptureSettings(instants=instants)
        plans = sequences.plan_sequences(settings)
        assert sum(plan.kept for plan in plans) == instants
        assert {plan.subject for plan in plans} == set(SPLIT_OF)


def test_rotations_are_rotations(studio):
    angles = np.random.default_rng(0).uniform(poses.LOW, poses.HIGH, (20, len(poses.NAMES)))
    matrices = poses.pose_rotations(angles).reshape(-1, 3, 3)
    np.testing.assert_allclose(Rotation.from_matrix(matrices).as_matrix(), matrices, atol=1e-9)


def test_skin_is_of_many_colours_about_its_own(studio):
    """Redder at the nose than on the forehead, lighter on the trunk, mottled everywhere; of one colour where nothing is drawn."""
    marks, template = studio.tailor.marks, studio.rig.template
    bare = replace(
        appearance.draw_outfit(np.random.default_rng(3), marks),
        bare=("top", "bottom", "shoes", "hair"),
        badge=(0, 0, 0),
    )
    bare = replace(bare, zip=False, beard=False)
    below = template[template[:, 1] < marks.neck - 0.05]
    assert np.ptp(appearance.paint(bare, marks, below), axis=0).max() < 1e-6
    for seed in range(4):
        drawn = replace(draw_complexion(np.random.default_rng(seed)), untanned=0.08)
        painted = 255 * appearance.paint(replace(bare, complexion=drawn), marks, below)
        off = painted / bare.skin - 1
        assert 0.02 < off.std() < 0.12 and np.abs(off.mean()) < 0.1
        red, inside = marks.red[:, :3], np.zeros(len(marks.red))
        flushed, pale = (skin_colours(bare.skin, drawn, marks.red, inside, at) for at in (red, red + [0, 0, 0.3]))
        assert ((flushed[:, 0] / flushed[:, 1]) > (pale[:, 0] / pale[:, 1])).all()
    twins = [draw_complexion(np.random.default_rng(1)) for _ in range(2)]
    assert (twins[0].waves == twins[1].waves).all()


def test_shoes_have_no_toes(studio):
    """Their tips lie on the convex hull of the foot's front, and nothing else of the body moves."""
    template, moved = studio.rig.template, studio.tailor.marks.toe_cap
    ankles = [studio.rig.regressor[SMPLX_55.index(f"{side}_ankle")] @ template for side in ("left", "right")]
    far = np.linalg.norm(moved, axis=1)
    assert (far[template[:, 1] > ankles[0][1] + 0.02] == 0).all() and 0.002 < far.max() < 0.03
    for ankle in ankles:
        tip = (template[:, 0] * ankle[0] > 0) & (template[:, 1] < ankle[1] + 0.02) & (template[:, 2] > ankle[2] + 0.09)
        capped = template[tip] + moved[tip]
        planes = ConvexHull(capped).equations
        below = -(capped @ planes[:, :3].T + planes[:, 3]).max(1)
        gaps = -(template[tip] @ planes[:, :3].T + planes[:, 3]).max(1)
        assert np.quantile(below, 0.9) < 0.003 < np.quantile(gaps, 0.9)
