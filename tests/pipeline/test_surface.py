"""What is stored is what is there: pictures, points, normalisation and framing agree on it. Run: pytest tests/pipeline/test_surface.py"""

import dataclasses
import itertools
from contextlib import closing

import numpy as np
import pytest
import trimesh

from cache_schema.errors import UserError
from cache_schema.spec import Camera, CameraRig, PointSpec, ViewSpec
from pipeline.coincident import BACK, BOTH, FRONT, HIDDEN, places, sides
from pipeline.geometry import FAINT, Cloud, Mesh, Part, appearance, copied, finished, normalized
from pipeline.points import sample
from pipeline.render import Renderer

RED, BLUE, GREEN = (1.0, 0.0, 0.0, 1.0), (0.0, 0.0, 1.0, 1.0), (0.0, 1.0, 0.0, 1.0)
SPEC = PointSpec(count=1000, blocks=2, ordered=8, dtype="float32")
ROUND = CameraRig(name="round", cameras=tuple(Camera(azimuth=a, elevation=20) for a in (30, 120, 210, 300)))
FACING = CameraRig(name="facing", cameras=(Camera(azimuth=0, elevation=0), Camera(azimuth=180, elevation=0)))
SQUARE = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float32)
UV = (SQUARE[:, :2] + 1) / 2
CUBE = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32)
QUADS = [[1, 5, 7, 3], [0, 2, 6, 4], [4, 6, 7, 5], [0, 1, 3, 2], [2, 3, 7, 6], [0, 4, 5, 1]]  # counter-clockwise from outside


def fan(polygon: list[int], first: int = 0) -> list[list[int]]:
    """A polygon cut from one of its corners."""
    turned = polygon[first:] + polygon[:first]
    return [[turned[0], b, c] for b, c in itertools.pairwise(turned[1:])]


def fans(polygons: list[list[int]], first: int = 0, reverse: bool = False) -> np.ndarray:
    return np.array([t for p in polygons for t in fan(p[::-1] if reverse else p, first)], np.int32)


def part(vertices: np.ndarray, faces: np.ndarray, **look) -> Part:
    return Part(vertices=np.asarray(vertices, np.float32), faces=np.asarray(faces, np.int32), **look)


def sheet(scale: float = 1.0, z: float = 0.0, **look) -> Part:
    return part(SQUARE * np.float32(scale) + np.array([0, 0, z], np.float32), fans([[0, 1, 2, 3]]), **look)


def shape(*parts: Part) -> Mesh:
    mesh = normalized(Mesh(parts=parts, colored=True), "unit_sphere")
    assert isinstance(mesh, Mesh)
    return mesh


def colours(mesh: Mesh) -> dict[tuple[int, ...], float]:
    """The shares of the points' colours."""
    rgb = sample(mesh, SPEC, "a").rgb.reshape(-1, 3)
    found, counts = np.unique(rgb, axis=0, return_counts=True)
    return {tuple(map(int, c)): n / len(rgb) for c, n in zip(found, counts, strict=True)}


def drawn(mesh: Mesh | Cloud, rig: CameraRig = FACING, size: int = 64, **options) -> tuple[np.ndarray, tuple[str, ...]]:
    """Pictures `[V, H, W, 3]` and warnings."""
    with closing(Renderer(ViewSpec(rig=rig, size=size, **options))) as renderer:
        pictures = renderer.render(mesh)
    return pictures.rgb.astype(int), pictures.warnings


def hues(pictures: np.ndarray) -> list[set[str]]:
    """Which of red, green and blue each picture of pure colours before white shows; at edges they mix with white, not with one another."""
    found = []
    for picture in pictures:
        apart = 255 - picture.min(axis=2) > 100
        strong = picture[apart].argmax(axis=1)
        found.append({"rgb"[channel] for channel in np.unique(strong)})
    return found


# ------------------------------------------------------------------------------------------------- surfaces in one place

HOUSE = [0, 1, 2, 3, 4]  # a pentagon, flat and convex
ROOM = np.array([[0, 0, 0], [2, 0, 0], [3, 2, 0], [1, 3, 0], [-1, 2, 0]], np.float32)
BALL = trimesh.creation.icosphere(subdivisions=2)
RING = np.array([[np.cos(a), np.sin(a), 0] for a in np.arange(8) * np.pi / 4])
LENS = np.vstack([RING, [[0, 0, 0.05], [0, 0, -0.05]]])
TOP, BOTTOM = [[i, (i + 1) % 8, 8] for i in range(8)], [[(i + 1) % 8, i, 9] for i in range(8)]

PLACES = {
    # name: (vertices, faces, how many BOTH, FRONT, BACK, HIDDEN)
    "two sides cut alike": (CUBE, [fans(QUADS), fans(QUADS)[:, ::-1]], [0, 12, 12, 0]),
    "two sides cut along other diagonals": (CUBE, [fans(QUADS), fans(QUADS, reverse=True)], [0, 12, 12, 0]),
    "some diagonals are others": (CUBE, [fans(QUADS), np.vstack([fans(QUADS[:3], 1, True), fans(QUADS[3:], 0, True)])], [0, 12, 12, 0]),
    "a copy": (CUBE, [fans(QUADS), fans(QUADS)], [12, 0, 0, 12]),
    "a copy cut otherwise": (CUBE, [fans(QUADS), fans(QUADS, 1)], [12, 0, 0, 12]),
    "a copy from another corner": (CUBE, [fans(QUADS), np.roll(fans(QUADS), 1, axis=1)], [12, 0, 0, 12]),
    "two sides, twice": (CUBE, [fans(QUADS), fans(QUADS)[:, ::-1]] * 2, [0, 12, 12, 24]),
    "two sides of some": (CUBE, [fans(QUADS), fans(QUADS[:2], reverse=True)], [8, 4, 4, 0]),
    "a pentagon cut otherwise": (ROOM, [fans([HOUSE]), fans([HOUSE], 2, True)], [0, 3, 3, 0]),
    "a ball": (BALL.vertices, [BALL.faces, BALL.faces[:, ::-1]], [0, 320, 320, 0]),
    "one cube": (CUBE, [fans(QUADS)], [12, 0, 0, 0]),
    "a tetrahedron is solid": (CUBE[[0, 3, 5, 6]], [[[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]]], [4, 0, 0, 0]),
    "a thin lens is solid": (LENS, [TOP, BOTTOM], [16, 0, 0, 0]),
    "a book's pages share an edge": (np.vstack([CUBE[:3], CUBE[4:5]]), [[[0, 1, 2], [0, 1, 3]]], [2, 0, 0, 0]),
    "lines and points are no surfaces": (CUBE, [fans(QUADS), [[0, 1, 1], [1, 0, 0], [2, 2, 2], [2, 2, 2]]], [16, 0, 0, 0]),
}


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("apart", [False, True], ids=["one part", "parts"])
@pytest.mark.parametrize("soup", [False, True], ids=["shared vertices", "own vertices"])
def test_surfaces_in_one_place_are_told_apart(name, apart, soup):
    vertices, layers, expected = PLACES[name]
    vertices = vertices.astype(np.float32)
    layers = [np.asarray(layer, np.int32) for layer in layers]
    parts = [(vertices, layer) for layer in layers] if apart else [(vertices, np.concatenate(layers))]
    if soup:
        parts = [(v[f].reshape(-1, 3), np.arange(f.size).reshape(-1, 3)) for v, f in parts]
    side = sides(parts)
    np.testing.assert_array_equal(np.bincount(side, minlength=4), expected)
    kept = side[: len(layers[0])]
    assert HIDDEN not in kept and (BACK not in kept or name == "a pentagon cut otherwise" or (side[len(kept) :] != FRONT).all())
    # The same whatever the order of triangles and vertices, and however far it is moved by powers of two.
    rng = np.random.default_rng(0)
    shuffled = [(v * np.float32(4), f[rng.permutation(len(f))]) for v, f in parts]
    np.testing.assert_array_equal(np.bincount(sides(shuffled), minlength=4), expected)


def test_the_outer_side_is_the_one_that_counts():
    inner, outer = fans(QUADS, reverse=True), fans(QUADS)
    for first, second, expected in ((outer, inner, (FRONT, BACK)), (inner, outer, (BACK, FRONT))):
        side = sides([(CUBE, first), (CUBE, second)])
        assert (side[:12] == expected[0]).all() and (side[12:] == expected[1]).all()
    # A bowl: its inside looks at the middle of the shape, and so do parts of the outside of an L.
    corner = np.array([[0, 0], [4, 0], [4, 1], [1, 1], [1, 4], [0, 4]], float)
    solid = trimesh.creation.extrude_triangulation(corner, [[0, 1, 2], [0, 2, 3], [0, 3, 4], [0, 4, 5]], 2.0)
    vertices, faces = solid.vertices.astype(np.float32), solid.faces.astype(np.int32)
    assert solid.is_watertight and solid.volume > 0
    side = sides([(vertices, faces[:, ::-1]), (vertices, faces)])
    assert (side[: len(faces)] == BACK).all() and (side[len(faces) :] == FRONT).all()
    sheet = sides([(SQUARE, fans([[0, 1, 2, 3]])), (SQUARE, fans([[0, 1, 2, 3]], reverse=True))])
    np.testing.assert_array_equal(sheet, [FRONT, FRONT, BACK, BACK])  # nobody can tell: the first


def test_one_of_two_that_look_alike_is_enough():
    faces = fans(QUADS)
    np.testing.assert_array_equal(sides([(CUBE, np.vstack([faces, faces[:, ::-1]]))], plain=[True]), [BOTH] * 12 + [HIDDEN] * 12)
    assert (sides([(CUBE, faces), (CUBE, faces[:, ::-1])], plain=[True, True]) != HIDDEN).all()  # of two parts


def test_large_meshes_are_looked_at_as_closely():
    ball = trimesh.creation.icosphere(subdivisions=7)
    vertices, faces = ball.vertices.astype(np.float32), ball.faces.astype(np.int32)
    assert not sides([(vertices, faces)]).any()
    assert (sides([(vertices, faces), (SQUARE, fans([[0, 1, 2, 3]])), (SQUARE, fans([[3, 2, 1, 0]]))])[-4:] != BOTH).all()
    assert (sides([(vertices, faces), (vertices, faces)])[len(faces) :] == HIDDEN).all()


def test_random_triangles_lie_alone():
    rng = np.random.default_rng(0)
    faces = np.unique(np.sort(rng.integers(0, 300, (5000, 3)), axis=1), axis=0)
    assert not sides([(rng.normal(size=(300, 3)).astype(np.float32), faces)]).any()
    same = places(np.array([[0.0, 1, 2], [-0.0, 1, 2], [1, 0, 2], [2, 1, 0]], np.float32))
    assert same[0] == same[1] and len(set(map(int, same))) == 3


@pytest.mark.parametrize("back", [fans(QUADS, reverse=True), fans(QUADS)[:, ::-1]], ids=["cut otherwise", "cut alike"])
@pytest.mark.parametrize("swapped", [False, True], ids=["outside first", "inside first"])
def test_a_two_sided_cube_is_red_outside(back, swapped):
    red, blue = part(CUBE, fans(QUADS), base_color=RED), part(CUBE, back, base_color=BLUE)
    mesh = shape(*((blue, red) if swapped else (red, blue)))
    assert colours(mesh) == {(255, 0, 0): 1.0}
    assert hues(drawn(mesh, ROUND)[0]) == [{"r"}] * 4
    np.testing.assert_allclose(np.ptp(np.concatenate([p.vertices for p in mesh.parts]), axis=0), 2 / 3**0.5, rtol=1e-5)


def test_a_mirrored_copy_keeps_its_outside():
    mirror = np.diag([-1.0, 1, 1, 1])[None]
    red, blue = part(CUBE, fans(QUADS), base_color=RED), part(CUBE, fans(QUADS, reverse=True), base_color=BLUE)
    mesh = shape(*(dataclasses.replace(c, vertices=c.vertices.astype(np.float32)) for c in (copied(red, mirror), copied(blue, mirror))))
    assert colours(mesh) == {(255, 0, 0): 1.0} and hues(drawn(mesh, ROUND)[0]) == [{"r"}] * 4


def test_a_two_sided_sheet_shows_each_side():
    front, back = sheet(base_color=RED), part(SQUARE, fans([[3, 2, 1, 0]]), base_color=BLUE)
    mesh = shape(front, back)
    assert hues(drawn(mesh)[0]) == [{"r"}, {"b"}] and colours(mesh) == {(255, 0, 0): 1.0}
    edge = CameraRig(name="edge", cameras=(Camera(azimuth=90, elevation=0),))
    assert (drawn(mesh, edge)[0] < 255).any()


def test_of_copies_the_first_is_there():
    mesh = shape(sheet(base_color=RED), sheet(base_color=BLUE), part(SQUARE, fans([[0, 1, 2, 3]], 1), base_color=GREEN))
    assert colours(mesh) == {(255, 0, 0): 1.0} and hues(drawn(mesh)[0]) == [{"r"}] * 2
    mesh = shape(sheet(base_color=(0, 0, 1, 0.5), alpha_mode="BLEND"), sheet(base_color=RED))  # but none that another shines through
    assert colours(mesh) == {(255, 0, 0): 1.0} and hues(drawn(mesh)[0]) == [{"r"}] * 2
    assert mesh.warnings == ("2 see-through triangles lie exactly on others and are left out",)
    mesh = shape(sheet(base_color=(0, 0, 1, 0.0), alpha_mode="BLEND"), sheet(base_color=RED))  # and none that is not there
    assert colours(mesh) == {(255, 0, 0): 1.0} and mesh.warnings == ()


def test_a_place_counts_once_for_area_and_points():
    twice = [fans([[0, 1, 2, 3]]), fans([[3, 2, 1, 0]])]
    far = SQUARE + np.array([4, 0, 0], np.float32)
    for copies in (twice, twice[:1] * 2):
        mesh = shape(
            *(part(SQUARE, f, base_color=c) for f, c in zip(copies, (RED, BLUE), strict=True)), part(far, twice[0], base_color=GREEN)
        )
        found = colours(mesh)
        assert found[255, 0, 0] == pytest.approx(0.5, abs=0.04) and found[0, 255, 0] == pytest.approx(0.5, abs=0.04)
        low = np.min([p.vertices.min(axis=0) for p in mesh.parts], axis=0)
        high = np.max([p.vertices.max(axis=0) for p in mesh.parts], axis=0)
        np.testing.assert_allclose(low, -high, atol=1e-6)  # the centroid is midway


# ------------------------------------------------------------------------------------------------------ what is visible


def picture(left: tuple[int, ...], right: tuple[int, ...], size: int = 64) -> np.ndarray:
    """A texture of two halves."""
    pixels = np.empty((size, size, 4), np.uint8)
    pixels[:, : size // 2], pixels[:, size // 2 :] = left, right
    return pixels


HALF = {"texture": picture((255, 0, 0, 255), (255, 255, 255, 0)), "uv": UV}
ALPHAS = np.array([[255, 0, 0, 255], [255, 0, 0, 0], [255, 0, 0, 0], [255, 0, 0, 255]], np.uint8)
HELPER = sheet(20, 5, base_color=(0, 0, 0, 0), alpha_mode="BLEND")

VISIBLE = {
    # name: (parts, size of the visible, centre of the visible, shares of point colours)
    "all of it": ([sheet(base_color=RED)], (2, 2), (0, 0), {(255, 0, 0): 1}),
    "opaque, whatever its alpha": ([sheet(base_color=(1, 0, 0, 0))], (2, 2), (0, 0), {(255, 0, 0): 1}),
    "opaque, whatever its texture's alpha": ([sheet(**HALF)], (2, 2), (0, 0), {(255, 0, 0): 0.5, (255, 255, 255): 0.5}),
    "half cut away": ([sheet(**HALF, alpha_mode="MASK")], (1, 2), (-0.5, 0), {(255, 0, 0): 1}),
    "half blended away": ([sheet(**HALF, alpha_mode="BLEND")], (1, 2), (-0.5, 0), {(255, 0, 0): 1}),
    "half cut, low threshold": ([sheet(**HALF, alpha_mode="MASK", alpha_cutoff=0.01)], (1, 2), (-0.5, 0), {(255, 0, 0): 1}),
    "cut by vertex colours": ([sheet(colors=ALPHAS, alpha_mode="MASK")], (1, 2), (-0.5, 0), {(255, 0, 0): 1}),
    "cut by all three": (
        [sheet(**HALF, colors=ALPHAS, base_color=(1, 1, 1, 0.75), alpha_mode="MASK", alpha_cutoff=0.5)],
        (2 / 3, 2),
        (-2 / 3, 0),
        {(255, 0, 0): 1},
    ),
    "an invisible helper": ([HELPER, sheet(base_color=RED)], (2, 2), (0, 0), {(255, 0, 0): 1}),
    "a helper cut away": (
        [dataclasses.replace(HELPER, alpha_mode="MASK", base_color=(0, 0, 0, 0.4)), sheet(base_color=RED)],
        (2, 2),
        (0, 0),
        {(255, 0, 0): 1},
    ),
    "a helper, by its texture": (
        [dataclasses.replace(HELPER, base_color=(1, 1, 1, 1), texture=picture((9, 9, 9, 0), (9, 9, 9, 0)), uv=UV), sheet(base_color=RED)],
        (2, 2),
        (0, 0),
        {(255, 0, 0): 1},
    ),
    "glass": ([sheet(base_color=(1, 0, 0, 0.3), alpha_mode="BLEND")], (2, 2), (0, 0), {(255, 0, 0): 1}),
    "very thin glass": ([sheet(base_color=(1, 0, 0, 1.1 * FAINT), alpha_mode="BLEND")], (2, 2), (0, 0), {(255, 0, 0): 1}),
    "thinner than glass": (
        [sheet(9, base_color=(0, 1, 0, 0.9 * FAINT), alpha_mode="BLEND"), sheet(base_color=RED)],
        (2, 2),
        (0, 0),
        {(255, 0, 0): 1},
    ),
    "glass over a solid": (
        [sheet(z=0.01, base_color=(0, 1, 0, 0.5), alpha_mode="BLEND"), sheet(base_color=RED)],
        (2, 2),
        (0, 0),
        {(255, 0, 0): 0.5, (0, 255, 0): 0.5},
    ),
    "a threshold of nothing": ([sheet(base_color=(1, 0, 0, 0), alpha_mode="MASK", alpha_cutoff=0)], (2, 2), (0, 0), {(255, 0, 0): 1}),
}


@pytest.mark.parametrize("name", VISIBLE)
def test_only_what_is_visible_counts(name):
    parts, size, center, expected = VISIBLE[name]
    mesh = shape(*parts)
    found = {color: portion for color, portion in colours(mesh).items() if portion > 0.01}  # between two texels lie mixtures
    assert found.keys() == expected.keys()
    for color, portion in expected.items():
        assert found[color] == pytest.approx(portion, abs=0.04)
    # Where normalisation put the file's (1, 1, 0) and (-1, -1, 0) says where its centre and its radius were.
    points = sample(mesh, SPEC, "a").xyz.reshape(-1, 3)
    radius = np.hypot(*size) / 2
    np.testing.assert_allclose(np.ptp(points, axis=0)[:2], np.array(size) / radius, atol=0.05)
    np.testing.assert_allclose((points.max(axis=0) + points.min(axis=0))[:2] / 2, 0, atol=0.03)
    assert 0.95 < np.linalg.norm(points, axis=1).max() < 1.01
    solid = parts[-1]
    moved = mesh.parts[-1].vertices[mesh.parts[-1].faces].reshape(-1, 3) * radius
    np.testing.assert_allclose(moved.mean(axis=0)[:2], solid.vertices[solid.faces].mean(axis=(0, 1))[:2] - center, atol=0.03)
    # Framed: what is seen fills its longer side, and is not cut.
    pictures, _ = drawn(mesh, size=64, background=(255, 255, 254))
    seen = (pictures != [255, 255, 254]).any(axis=3)
    if "very thin" not in name:
        assert max(seen[0].any(axis=0).sum(), seen[0].any(axis=1).sum()) >= 54
    assert not seen[:, [0, -1]].any() and not seen[:, :, [0, -1]].any()


NOTHING = {
    "blended away": sheet(base_color=(1, 1, 1, 0), alpha_mode="BLEND"),
    "cut away": sheet(base_color=(1, 1, 1, 0.4), alpha_mode="MASK"),
    "cut away by its texture": sheet(texture=picture((1, 2, 3, 100), (4, 5, 6, 0)), uv=UV, alpha_mode="MASK"),
    "cut away by its vertices": sheet(colors=ALPHAS // 3, alpha_mode="MASK"),
    "an impossible threshold": sheet(alpha_mode="MASK", alpha_cutoff=1.5),
}


@pytest.mark.parametrize("name", NOTHING)
@pytest.mark.parametrize("how", ["unit_sphere", "none"])
def test_a_shape_of_which_nothing_is_visible_says_so(name, how):
    with pytest.raises(UserError, match="nothing of the surface is visible: its alpha"):
        normalized(Mesh(parts=(NOTHING[name],), colored=True), how)


def test_a_small_leaf_on_a_large_card_is_found():
    pixels = np.zeros((1024, 1024, 4), np.uint8)
    pixels[100:140, 300:340] = [0, 255, 0, 255]
    mesh = shape(sheet(texture=pixels, uv=UV, alpha_mode="MASK"))
    points = sample(mesh, SPEC, "a").xyz.reshape(-1, 3)
    assert colours(mesh) == {(0, 255, 0): 1.0}
    np.testing.assert_allclose(np.ptp(points, axis=0)[:2], 2**0.5, atol=0.15)
    assert np.linalg.norm(points, axis=1).max() < 1.15
    seen = (drawn(mesh)[0][0] < 250).any(axis=2)
    assert seen.any(axis=0).sum() > 50


def test_what_transparent_texels_hold_shows_nowhere():
    pixels = np.random.default_rng(0).permutation(np.repeat([[0, 255, 0, 255], [255, 0, 0, 0]], 128 * 64, axis=0)).reshape(128, 128, 4)
    for mode in ("MASK", "BLEND"):
        mesh = shape(sheet(texture=pixels.astype(np.uint8), uv=UV, alpha_mode=mode, alpha_cutoff=0.3))
        for size in (24, 96):  # with mipmaps and without
            picture = drawn(mesh, size=size, background=(0, 0, 0))[0]
            assert picture[..., 0].max() <= 3 and picture[..., 1].max() > 100
        assert sample(mesh, SPEC, "a").rgb[..., 0].max() == 0


def test_pictures_show_the_colours_of_points():
    # Seen straight on without much light and shadow, each place has the colour that a point there has, up to one factor.
    rng = np.random.default_rng(1)
    texture = rng.integers(0, 256, (8, 8, 4)).astype(np.uint8)
    texture[..., 3] = rng.choice([0, 255], (8, 8))
    for mode in ("OPAQUE", "MASK", "BLEND"):
        mesh = normalized(Mesh(parts=(sheet(texture=texture, uv=UV * 2.5 - 0.7, alpha_mode=mode),), colored=True), "none")
        with closing(Renderer(ViewSpec(rig=FACING, size=512, background=(0, 0, 0)))) as renderer:
            pictures = renderer.render(mesh)
        xyz, rgb = (a[0] for a in sample(mesh, dataclasses.replace(SPEC, normalize="none"), "a")[:2])
        seen = np.column_stack([xyz, np.ones(len(xyz))]) @ np.linalg.inv(pictures.pose[0].astype(np.float64)).T
        place = seen[:, :2] / -seen[:, 2:3] / np.tan(np.radians(20))
        row, column = ((1 - place[:, 1]) * 256).astype(int), ((1 + place[:, 0]) * 256).astype(int)
        part_of, weights = mesh.parts[0], np.zeros((len(xyz), 3))
        weights[:, 0] = 1
        shown = pictures.rgb[0][row, column].astype(float)
        if mode == "BLEND":  # the picture holds colour times alpha there
            solid = shown.max(axis=1) > 0.8 * rgb.max(axis=1)
            shown, rgb = shown[solid], rgb[solid]
        assert np.median(np.abs(shown / 0.867 - rgb)) < 3 and np.corrcoef(shown.reshape(-1), rgb.reshape(-1))[0, 1] > 0.98
        assert appearance(part_of, np.zeros((len(xyz), 3), int), weights)[0].shape == (len(xyz), 3)


ODD = {
    "texture without coordinates": (sheet(texture=picture((0, 0, 255, 0), (0, 0, 255, 0)), base_color=RED), (255, 0, 0)),
    "coordinates without texture": (sheet(uv=UV, base_color=RED), (255, 0, 0)),
    "one coordinate for all": (sheet(texture=picture((255, 0, 0, 255), (0, 0, 255, 255)), uv=UV * 0 + 0.25), (255, 0, 0)),
    "base colour beyond one": (sheet(base_color=(3.0, -1.0, 0.0, 1.0)), (255, 0, 0)),
    "emission beyond one": (sheet(base_color=RED, emissive=(7.0, 0.0, 0.0)), (255, 0, 0)),
    "not a number": (sheet(base_color=(1.0, float("nan"), 0.0, 1.0)), (255, 0, 0)),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_materials_have_a_colour(name):
    odd, expected = ODD[name]
    assert colours(shape(odd)) == {expected: 1.0}
    if name != "not a number":
        assert hues(drawn(shape(odd))[0]) == [{"rgb"[int(np.argmax(expected))]}] * 2


# ------------------------------------------------------------------------------------------------------------- emission


@pytest.mark.parametrize(
    ("base", "emissive"), [((0, 0, 0, 1), (1, 1, 1)), ((1, 1, 1, 1), (1, 1, 1)), ((0.5, 0.5, 0.5, 1), (0.5, 0.5, 0.5))]
)
def test_what_glows_has_a_form(base, emissive):
    mesh = shape(part(CUBE, fans(QUADS), base_color=base, emissive=emissive))
    assert colours(mesh) == {(255, 255, 255): 1.0}
    pictures, warnings = drawn(mesh, ROUND, size=96)
    assert warnings == ()
    for one in pictures:
        tones, counts = np.unique(one[..., 0], return_counts=True)
        assert len([t for t, c in zip(tones, counts, strict=True) if c > 100 and t < 254]) >= 3  # three faces


def test_emission_is_added_to_the_colour():
    mesh = shape(sheet(base_color=(0.25, 0.5, 0, 1), emissive=(0.25, 0, 1)))
    assert colours(mesh) == {(128, 128, 255): 1.0}
    middle = drawn(mesh)[0][0, 32, 32]
    assert abs(middle[0] - middle[1]) <= 1 and abs(middle[0] - middle[2] * 0.5) <= 2


# ---------------------------------------------------------------------------------------------------- pictures of nothing

FADED = {
    # name: (shape, background, views of two that are warned of)
    "red on white": (sheet(base_color=RED), (255, 255, 255), 0),
    "black on white": (sheet(base_color=(0, 0, 0, 1)), (255, 255, 255), 0),
    "white on white, lit": (part(CUBE, fans(QUADS), base_color=(1, 1, 1, 1)), (255, 255, 255), 0),
    "black on black": (sheet(base_color=(0, 0, 0, 1)), (0, 0, 0), 2),
    "thin glass on white": (sheet(base_color=(1, 0, 0, 0.02), alpha_mode="BLEND"), (255, 255, 255), 2),
}


@pytest.mark.parametrize("name", FADED)
def test_a_shape_that_looks_like_the_background_is_warned_of(name):
    made, background, expected = FADED[name]
    warnings = drawn(shape(made), background=background)[1]
    assert warnings == ((f"the shape cannot be told from the background in {expected} of 2 views",) if expected else ())


# --------------------------------------------------------------------------------------------------------------- clouds


def test_points_that_are_no_numbers_are_left_out():
    points = np.random.default_rng(0).normal(size=(50, 3))
    colors = np.arange(150, dtype=np.uint8).reshape(50, 3)
    points[[3, 7]], points[9, 1] = np.nan, np.inf
    cloud = finished(Cloud(points=points, colors=colors, warnings=("before",)), "z")
    assert isinstance(cloud, Cloud) and cloud.colors is not None
    assert cloud.warnings == ("before", "3 of 50 points are not finite (NaN or infinity) and are left out")
    kept = np.delete(np.arange(50), [3, 7, 9])
    np.testing.assert_array_equal(cloud.colors, colors[kept])
    np.testing.assert_allclose(cloud.points, points[kept][:, [0, 2, 1]] * [1, 1, -1], rtol=1e-6)
    assert finished(Cloud(points=np.zeros((2, 3))), "y").warnings == ()
    with pytest.raises(UserError, match="none of the cloud's 4 points is finite"):
        finished(Cloud(points=np.full((4, 3), np.nan)), "y")


def test_copies_of_points_are_no_points():
    points = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    assert Cloud(points=points).fewer_than(51) and not Cloud(points=points).fewer_than(50)
    assert Cloud(points=np.vstack([points, points])).fewer_than(51) and not Cloud(points=np.vstack([points, points])).fewer_than(50)


# ------------------------------------------------------------------------------------------------------------- finished


def test_meshes_are_mended_where_they_can_be():
    uv, normals = UV.copy(), np.tile(np.float32([0, 0, 1]), (4, 1))
    uv[0], normals[1] = np.nan, np.nan
    loose = np.vstack([SQUARE, [[np.nan] * 3]])  # no triangle uses it
    mesh = finished(Mesh(parts=(part(loose, fans([[0, 1, 2, 3]])),), colored=False), "y")
    assert isinstance(mesh, Mesh) and len(mesh.parts[0].vertices) == 4 and mesh.warnings == ()
    made = dataclasses.replace(sheet(), uv=uv, normals=normals, texture=picture((9, 9, 9, 255), (9, 9, 9, 255)))
    mesh = finished(Mesh(parts=(made,), colored=False, warnings=("before",)), "y")
    assert isinstance(mesh, Mesh) and mesh.parts[0].uv is not None and np.isfinite(mesh.parts[0].uv).all() and mesh.parts[0].normals is None
    assert mesh.warnings[0] == "before" and "texture coordinates" in mesh.warnings[1] and "normals" in mesh.warnings[2]
    with pytest.raises(UserError, match="a triangle names vertex 4 of 4"):
        finished(Mesh(parts=(part(SQUARE, [[0, 1, 4]]),), colored=False), "y")
    with pytest.raises(UserError, match="1 of 4 vertices in use are not finite"):
        finished(Mesh(parts=(part(np.vstack([SQUARE[:3], [[0, np.inf, 0]]]), fans([[0, 1, 2, 3]])),), colored=False), "y")
    with pytest.raises(UserError, match="no triangles"):
        finished(Mesh(parts=(part(SQUARE, np.zeros((0, 3))),), colored=False), "y")


def test_a_surface_that_is_wholly_transparent_is_left_out_with_a_warning_whatever_its_format():
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)
    there = Part(vertices=corners, faces=np.array([[0, 1, 2]], np.int32))
    gone = Part(vertices=corners + 5, faces=np.array([[0, 1, 2]], np.int32), base_color=(1, 0, 0, 0), alpha_mode="BLEND")
    left = normalized(finished(Mesh(parts=(there, gone), colored=True), "y"), "unit_sphere")
    assert len(left.parts) == 1 and left.warnings == ("1 of 2 surfaces are wholly transparent and left out",)
