"""Fits of synthetic persons: recovered, the same alone and in a batch, and bad input refused beside good."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks.fit import facing_errors, pose_fits
from benchmarks.fit_collisions import CROSSED_LEGS
from benchmarks.fit_persons import make_persons
from model.scoring.metrics import pa_mpjpe
from pipeline.body.keypoints import keypoint_map
from pipeline.errors import InputError
from pipeline.fit import FitSettings, Fitter, rotations
from pipeline.fit.collisions import CollisionPenalty, spheres_of
from pipeline.fit.objective import LEAN_ROBUST, LEAN_SIGMA, Objective, Weights
from pipeline.fit.quality import AMBIGUOUS
from pipeline.fit.race import Finalists, different, margin_of
from pipeline.fit.solver import minimise
from pipeline.fit.spheres import COARSE, FINE
from pipeline.fit.untangle import buried
from pipeline.records import BodyFit, Reject
from pipeline.skeletons import JOINT_SETS, SMPLX_22
from tests.pipeline.fit.gradients import same_gradient


def test_3d_joints_are_fitted_better_than_they_were_measured(free_body, fitter, in_space):
    betas = fitter.solve_shapes(in_space.instants)
    assert set(betas) == {"P0", "P1"}
    fits = fitter.fit(in_space.instants, betas)
    vertices, joints = pose_fits(free_body, fits)
    points = keypoint_map(free_body, "human36m_17")(joints, vertices)
    assert np.linalg.norm(points - in_space.points, axis=2).mean() < 0.0045
    assert all(fit.quality.converged and fit.quality.valid for fit in fits)
    # one shape per subject
    assert np.ptp([fit.parameters.betas for fit in fits[::2]], axis=0).max() == 0
    # what 17 joints cannot see is said
    assert all(
        {"left_elbow_twist", "right_knee_twist", "left_wrist", "right_foot"} <= set(fit.quality.unseen) for fit in fits
    )


def test_one_image_gives_human_poses_facing_the_right_way(free_body, monocular, monocular_fits):
    _, joints = pose_fits(free_body, monocular_fits)
    assert pa_mpjpe(joints[:, :22], monocular.joints[:, :22]).mean() < 0.070
    assert facing_errors(joints, monocular.joints).max() < 90
    assert max(fit.quality.reprojection_px[0] for fit in monocular_fits) < 3


def test_four_views(free_body, fitter):
    persons = make_persons(free_body, 3, 5, "openpose_25", views=4)
    _, joints = pose_fits(free_body, fitter.fit(persons.instants))
    assert np.linalg.norm((joints - persons.joints)[:, :22], axis=2).mean() < 0.015


def test_alone_and_in_a_batch_a_fit_is_the_same(free_body, fitter, monocular, monocular_fits, in_space):
    together = fitter.fit(in_space.instants)
    for persons, fits, picked in ((monocular, monocular_fits, (0, 5)), (in_space, together, (3, 7))):
        for i in picked:
            alone = fitter.fit([persons.instants[i]])
            difference = pose_fits(free_body, alone)[0] - pose_fits(free_body, [fits[i]])[0]
            assert np.abs(difference).max() < 1e-5


def test_a_known_pose_without_noise_is_recovered(free_body, fitter):
    """From 22 joints of a body of the model's own, up to what its prior pulls."""
    from pipeline.body.model import as_tensors

    persons = make_persons(free_body, 2, 6, "smplx_22", noise_3d=0.0)
    kind = fitter.kind_of(persons.instants[0], {})
    objective, found = fitter.search(kind, persons.instants, {})
    body = fitter.fit(persons.instants)
    true = pose_fits(free_body, body)[1]
    again = [replace(instant, joints_3d=true[i, :22].astype(float)) for i, instant in enumerate(persons.instants)]
    refit = pose_fits(free_body, fitter.fit(again))[1]
    assert np.abs(refit - true)[:, :22].max() < 0.004
    assert as_tensors([fit.parameters for fit in body])["betas"].shape == (2, 10)
    assert objective.n_parameters == 3 * 22 + 10 + 3 and found.solution.converged.all()


def test_objective_is_the_sum_written_down(fitter, monocular):
    """Slow twin: the cost of one row, term by term."""
    kind = fitter.kind_of(monocular.instants[0], {})
    objective, found = fitter.search(kind, monocular.instants[:1], {})
    state, e = found.solution.state, objective.evidence
    P = objective.chain.points(state)[0]
    cost = fitter.prior.cost(state.R[:, 1:])[0] + state.shape.square().sum()
    c = fitter.settings.manner.robust * fitter.settings.robust
    for n in range(len(P)):
        residual = e.scale[0, 0] @ (P[n, :2] / P[n, 2] - e.pixels[0, 0, n])
        s = residual @ residual
        cost = cost + e.pixels_weight[0, 0, n] * c**2 * s / (c**2 + s)
    offset, weight = P - e.points[0], e.points_weight[0][:, None]  # lifted joints, which may shift together
    shift = (weight * offset).sum(0) / (weight.sum() + e.shift[0] ** -2)
    cost = cost + (weight * (offset - shift).square()).sum() + (shift / e.shift[0]).square().sum()
    lean = ((state.R[0, 0, :, 1] - torch.tensor([0.0, -1.0, 0.0])) / LEAN_SIGMA).square().sum()
    cost = cost + LEAN_ROBUST**2 * lean / (LEAN_ROBUST**2 + lean)
    assert objective.cost(state)[0].item() == pytest.approx(cost.item(), rel=1e-10)


@pytest.mark.parametrize("free_shape", [True, False])
def test_half_gradient_of_the_objective(fitter, monocular, free_shape):
    objective, found = fitter.search(fitter.kind_of(monocular.instants[0], {}), monocular.instants[:2], {})
    objective = Objective(objective.chain, fitter.prior, objective.evidence, Weights(4.0), free_shape)
    state = found.solution.state
    posed = objective.chain.pose(state)
    direction = (
        torch.randn(2, objective.n_parameters, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 0.1
    )
    moved = objective.chain.retract(state, posed, direction)
    same_gradient(objective, moved, direction, rtol=1e-5)


def test_minimum_cannot_be_improved_by_autodiff(fitter, in_space):
    """Where Levenberg-Marquardt stops, the gradient that autodiff sees is nearly zero."""
    objective, found = fitter.search(fitter.kind_of(in_space.instants[0], {}), in_space.instants[:2], {})
    final = minimise(objective, found.solution.state, 20, 1e-12)
    posed = objective.chain.pose(final.state)
    step = torch.zeros(2, objective.n_parameters, dtype=torch.float64, requires_grad=True)
    with torch.enable_grad():
        objective.cost(objective.chain.retract(final.state, posed, step)).sum().backward()
    assert step.grad.abs().max() < 1e-2 and (final.cost <= found.solution.cost).all()


def damaged(instant, **changes):
    return replace(instant, views=(replace(instant.views[0], **changes),))


def bad_instants(good):
    view = good.views[0]
    J = len(JOINT_SETS[good.joint_set])
    few = np.where(np.arange(J) < 3, 1.0, 0.0)
    nan, far = view.joints_2d.copy(), view.joints_2d.copy()
    nan[4], far[4] = np.nan, 1e9
    return {
        "no visible joints": damaged(good, confidence=np.zeros(J)),
        "3 visible joints": damaged(good, confidence=few),
        "NaN or infinite": damaged(good, joints_2d=nan),
        "far outside": damaged(good, joints_2d=far),
        "focal length": damaged(good, camera=replace(view.camera, K=np.diag([0.0, 0.0, 1.0]))),
        "not a rotation": damaged(good, camera=replace(view.camera, R=2 * np.eye(3))),
        "their joint set has 25": damaged(good, joints_2d=view.joints_2d[:17], confidence=np.ones(17)),
        "confidence is NaN": damaged(good, confidence=np.full(J, np.nan)),
        "unknown joint set": replace(good, joint_set="mpii_16"),
        "3D joint is NaN": replace(good, joints_3d=np.full((J, 3), np.nan), joints_3d_valid=np.ones(J, bool)),
        "m away": replace(good, joints_3d=np.full((J, 3), 1e6), joints_3d_valid=np.ones(J, bool)),
    }


def test_bad_instants_are_refused_with_a_reason_and_change_no_other(free_body, fitter, monocular, monocular_fits):
    bad = bad_instants(monocular.instants[0])
    mixed = [
        monocular.instants[1],
        *(replace(instant, id=reason) for reason, instant in bad.items()),
        monocular.instants[2],
    ]
    results = fitter.fit(mixed)
    for result, reason in zip(results[1:-1], bad, strict=True):
        assert isinstance(result, Reject) and result.key == reason and reason in result.reason, result
    for result, expected in ((results[0], monocular_fits[1]), (results[-1], monocular_fits[2])):
        assert np.abs(pose_fits(free_body, [result])[0] - pose_fits(free_body, [expected])[0]).max() < 1e-5


def test_hands_on_a_body_without_hands(free_body, monocular):
    weights = free_body.weights.clone()
    weights[:, 25:] = 0
    fitter = Fitter(replace(free_body, weights=weights), FitSettings(hands=True))
    (result,) = fitter.fit(monocular.instants[:1])
    assert isinstance(result, Reject) and "hands" in result.reason


@pytest.mark.slow
def test_fingers_and_jaw_follow_their_keypoints(free_body):
    persons = make_persons(free_body, 6, 9, "openpose_25")
    pose = {name: torch.as_tensor(value, dtype=torch.float32) for name, value in persons.pose.items()}
    curl = torch.zeros(6, 15, 3)
    curl[:, :12, 2] = -0.9
    jaw = torch.tensor([[0.3, 0, 0]]).expand(6, 3)
    vertices, joints = free_body.pose(pose | {"left_hand_pose": curl.flatten(1), "jaw_pose": jaw})
    K = np.array([[3000.0, 0, 1500], [0, 3000, 1500], [0, 0, 1]])

    def seen(name):
        points = keypoint_map(free_body, name)(joints, vertices).numpy()
        return points[..., :2] / points[..., 2:] * 3000 + 1500

    pixels = seen("openpose_25")
    extra = {name: np.insert(seen(name), 2, 1.0, axis=2) for name in ("openpose_left_hand_21", "openpose_face_51")}
    instants = [
        damaged(
            instant,
            camera=replace(instant.views[0].camera, K=K, width=3000, height=3000),
            joints_2d=pixels[i],
            keypoints_2d={name: points[i] for name, points in extra.items()},
        )
        for i, instant in enumerate(persons.instants)
    ]
    errors = []
    hand = [20, *range(25, 40)]
    for asked in (False, True):
        fits = Fitter(free_body, FitSettings(hands=asked, face=asked)).fit(instants)
        errors.append(pa_mpjpe(pose_fits(free_body, fits)[1][:, hand], joints[:, hand].numpy()).mean())
    assert errors[1] < 0.7 * errors[0]
    assert max(np.abs(fit.parameters.right_hand_pose).max() for fit in fits) == 0  # no keypoints of it
    # a face seen from behind tells little of its jaw; half of the persons show theirs
    assert np.median([abs(fit.parameters.jaw_pose[0] - 0.3) for fit in fits]) < 0.06


def test_a_subject_that_cannot_be_fitted_has_no_shape(fitter, in_space):
    broken = [replace(instant, joints_3d=instant.joints_3d * np.nan) for instant in in_space.instants[:3]]
    assert fitter.solve_shapes(broken) == {}


@pytest.mark.slow
def test_interpenetration_parts_crossed_legs(free_body):
    from benchmarks.fit_collisions import crossed_persons, penetrating_volume

    instants = crossed_persons(free_body, 4)[3:]
    volumes, pixels = [], []
    for on in (False, True):
        (fit,) = Fitter(free_body, FitSettings(interpenetration=on)).fit(instants)
        volumes.append(penetrating_volume(free_body.mesh(fit.parameters)[0], free_body.faces, cell=0.02))
        pixels.append(fit.quality.reprojection_px[0])
    assert volumes[0] > 0.5 and volumes[1] < 0.2 * volumes[0]
    assert pixels[1] < pixels[0] + 1


@pytest.mark.slow
def test_interpenetration_keeps_batch_mates_apart(free_body):
    from benchmarks.fit_collisions import crossed_persons

    instants = crossed_persons(free_body, 4)
    fitter = Fitter(free_body, FitSettings(interpenetration=True))
    together, (alone,) = fitter.fit(instants), fitter.fit(instants[3:])
    apart = free_body.mesh(together[3].parameters)[0] - free_body.mesh(alone.parameters)[0]
    assert np.linalg.norm(apart, axis=1).max() < 1e-5


@pytest.mark.slow
def test_limbs_are_parted_along_the_line_of_sight(free_body):
    """Each limb to one side, whatever side its spheres are on."""
    plain = CollisionPenalty(free_body, spheres_of(free_body, FINE), tuple(range(22)), False, "cpu", torch.float64)
    penalty, chain = plain.with_stage(0.01, True), plain.chain
    state = chain.rest(1)
    for name, turn in CROSSED_LEGS.items():
        state.R[0, SMPLX_22.index(name)] = rotations.exp(1.5 * torch.tensor(turn, dtype=torch.float64))
    sight = torch.nn.functional.normalize(torch.tensor([[0.3, -0.2, 0.9]], dtype=torch.float64), dim=1)
    across = torch.zeros_like(sight)
    evidence = SimpleNamespace(R=torch.stack([across, across, sight], 1)[:, None])
    posed = chain.pose(state)
    found = penalty.overlaps(chain.points(state, posed), evidence)
    pushed = penalty.between[found.pair] & (found.metres > 0)
    along, limbs = (found.away[pushed] @ sight[0]), penalty.limbs[found.pair[pushed]]
    assert pushed.sum() > 4 and (along.abs() - 1).abs().max() < 1e-9 and not plain.in_depth
    assert all(len(along[limbs == pair].round().unique()) == 1 for pair in limbs.unique())


@pytest.mark.parametrize("free_shape", [False, True])
def test_half_gradient_of_what_overlap_costs(fitter, monocular, free_shape):
    objective, found = fitter.search(fitter.kind_of(monocular.instants[0], {}), monocular.instants[:2], {})
    penalty, chain = fitter.penalty(objective.chain, COARSE), objective.chain
    state = found.solution.state.clone()
    state.R[1] = chain.rest(1).R[0]  # a body that stands, and one with crossed legs
    for name, turn in CROSSED_LEGS.items():
        state.R[0, SMPLX_22.index(name)] = rotations.exp(torch.tensor(turn, dtype=torch.float64))
    full = Objective(chain, fitter.prior, objective.evidence, Weights(4.0), free_shape, penalty=penalty)
    cost, gradient, matrix = penalty.linearise(state, chain.pose(state), objective.evidence, free_shape)
    assert cost[0] > 1 and cost[1] == 0 and not gradient[1].any() and not matrix[1].any()
    direction = torch.randn(2, full.n_parameters, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 0.1
    same_gradient(full, state, direction, rtol=1e-5)


def test_buried_is_flesh_inside_other_flesh(free_body, folded_body):
    rest = free_body.pose({"transl": torch.zeros(1, 3)})[0].numpy()
    litres = buried(np.concatenate([rest, folded_body[0][None]]), free_body.faces)
    assert litres[0] < 0.05 and litres[1] > 1


def test_parameters_leave_as_axis_angle(monocular_fits):
    for fit in monocular_fits:
        assert isinstance(fit, BodyFit)
        turn = torch.as_tensor(fit.parameters.global_orient)[None].double()
        assert torch.allclose(rotations.log(rotations.exp(turn)), turn, atol=1e-5)


def test_cuda_is_refused_where_there_is_none():
    if torch.cuda.is_available():
        pytest.skip("a CUDA device is at hand")
    with pytest.raises(InputError, match="cuda"):
        FitSettings(device="cuda")


@pytest.mark.slow
def test_people_are_taken_to_stand_where_the_frame_is_the_cameras_own(free_body, monocular):
    """A person of whom only the trunk is known leans less; in a world, and with the priors of before, nothing is said of that."""
    trunk = np.isin(
        JOINT_SETS["openpose_25"].names, ("neck", "pelvis", "left_hip", "right_hip", "left_shoulder", "right_shoulder")
    )
    view = monocular.instants[0].views[0]
    bare = replace(monocular.instants[0], views=(replace(view, confidence=trunk.astype(float)),))
    tilted = replace(bare, views=(replace(bare.views[0], camera=replace(view.camera, R=np.diag([-1.0, -1, 1]))),))
    for instant, prior, up in (
        (bare, "motion", [0, -1, 0]),
        (tilted, "motion", [0, 1, 0]),
        (replace(bare, has_world=True), "motion", [0, 0, 0]),
        (bare, "anatomical", [0, 0, 0]),
    ):
        fitter = Fitter(free_body, FitSettings(prior=prior))
        objective, _ = fitter.search(fitter.kind_of(instant, {}), [instant], {})
        assert objective.evidence.up[0].tolist() == up


def test_a_margin_is_that_of_the_nearest_other_body(fitter, monocular):
    """Bodies within 25 mm are the same one, however small the difference of their costs."""
    chain = fitter.chain(fitter.kind_of(monocular.instants[0], {}))[0]
    winner, bent, shifted = chain.rest(1), chain.rest(1), chain.rest(1)
    shifted.transl[0] = torch.tensor([1.0, 2.0, 3.0])
    for side in ("left", "right"):
        bent.R[0, SMPLX_22.index(f"{side}_hip")] = rotations.exp(torch.tensor([-1.2, 0, 0], dtype=torch.float64))
    costs = torch.tensor([[10.0], [10.5], [17.0]], dtype=torch.float64)
    rivals = Finalists([winner, shifted, bent], costs, torch.zeros(3, 1, dtype=torch.long))
    assert margin_of(chain, winner, rivals, 25).tolist() == [7.0]
    assert margin_of(chain, winner, Finalists([winner, shifted], costs[:2], rivals.starts[:2]), 25).isinf().all()
    few = different(chain, rivals, 2, 25)
    assert few.costs[:, 0].tolist() == [10.0, 17.0], "the shifted one is the winner once more"
    assert torch.equal(few.states[1].R, bent.R)
    assert different(chain, Finalists([winner, shifted], costs[:2], rivals.starts[:2]), 2, 25).costs[0, 0] == 10.0


def test_what_could_as_well_be_another_is_marked(fitter, in_space, monocular_fits):
    assert all(fit.quality.ambiguous == (fit.quality.margin < AMBIGUOUS) for fit in monocular_fits)
    assert 0 < sum(fit.quality.ambiguous for fit in monocular_fits) < len(monocular_fits)
    assert not any(fit.quality.ambiguous for fit in fitter.fit(in_space.instants[:2]))


def test_how_far_keypoints_are_trusted_depends_on_the_prior():
    """The stored numbers are those of version 0.1.0 either way, so that its runs go on."""
    now, before = FitSettings(), FitSettings(prior="anatomical")
    assert (now.noise_2d, now.robust) == (before.noise_2d, before.robust) == (0.004, 10.0)
    assert (before.manner.noise_2d, before.manner.robust) == (1.0, 1.0)
    assert (now.manner.noise_2d, now.manner.robust) == (1.5, 2.0)
